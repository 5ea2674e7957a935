// All begins.

equip();
if ("folder" in panel.dataset) {
  const button = make("button", { type: "button", textContent: "New folder", onclick: makeFolder });
  form.append(button);
}
document.querySelector("main").addEventListener("click", (event) => {
  if (event.target.matches("button.x")) remove(event.target.closest("tr").querySelector("a"));
});
dress();
