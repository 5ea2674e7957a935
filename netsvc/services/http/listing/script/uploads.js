// The files that are dropped or chosen: they wait for their turn, three go at a time.

const AT_ONCE = 3;

function next() {
  const all = [...items].filter((one) => one.file); // others wait for the person
  const sending = all.filter((one) => one.running).length;
  for (const item of all.filter((one) => one.state === "wait" && !one.running).slice(0, AT_ONCE - sending)) {
    item.running = true;
    item.run().finally(() => {
      item.running = false;
      next();
    });
  }
}

function add(file) {
  const key = keyOf(file);
  for (const other of items) {
    if (other.key !== key) continue;
    if (other.file && other.state !== "bad") {
      say(`${visible(file.name)} is being uploaded already.`);
      return;
    }
    other.close();
  }
  const item = new Item(file.name, file);
  item.key = key;
  item.url = remembered().find((one) => one.key === key)?.url ?? null;
  item.wait();
}

function refuse(name, reason) {
  const item = new Item(name, null);
  item.show("bad", reason, ["Dismiss", () => item.close()]);
  say(`${visible(name)}: ${reason}`, false);
}

// What a reload or a crash cut off, if the server still has it.
async function interrupted({ key, url, name, size: whole }) {
  let offset;
  try {
    offset = Number((await ask("HEAD", url)).get("Upload-Offset"));
  } catch (error) {
    if (!(error instanceof Broken)) remember(key, null);
    return;
  }
  if ([...items].some((one) => one.key === key)) return;
  const item = new Item(name, null);
  Object.assign(item, { key, url });
  item.bar.value = offset / whole;
  item.show("wait", `${size(offset)} of ${size(whole)} are there. Choose the same file again to go on.`,
    ["Discard", () => item.cancel()]);
}

const dragsFiles = (event) => event.dataTransfer?.types.includes("Files");
let within = 0; // elements that the pointer has entered with files

function drop(event) {
  if (!dragsFiles(event)) return;
  event.preventDefault();
  within = 0;
  panel.classList.remove("over");
  for (const one of [...event.dataTransfer.items].filter((each) => each.kind === "file")) {
    const entry = one.webkitGetAsEntry?.();
    if (entry?.isDirectory) refuse(`${entry.name}/`, "Folders are not taken. Drop the files that are in it.");
    else if (one.getAsFile()) add(one.getAsFile());
  }
}

function equip() {
  const input = document.getElementById("files");
  const label = form.querySelector("label");
  panel.classList.add("js");
  form.prepend(input); // so that the label can show that it has the focus
  form.querySelectorAll("button").forEach((one) => one.remove());
  label.append(make("span", { className: "pointer", textContent: "or drop them on this page" }));
  input.required = false;
  input.addEventListener("change", () => {
    [...input.files].forEach(add);
    input.value = "";
  });
  addEventListener("dragenter", (event) => dragsFiles(event) && panel.classList.toggle("over", ++within > 0));
  addEventListener("dragleave", (event) => dragsFiles(event) && panel.classList.toggle("over", --within > 0));
  addEventListener("dragover", (event) => dragsFiles(event) && event.preventDefault());
  addEventListener("drop", drop);
  addEventListener("online", () => items.forEach((one) => one.wake?.()));
  addEventListener("offline", () => items.forEach((one) => one.call?.abort()));
  addEventListener("beforeunload", (event) => {
    if ([...items].some((one) => one.running)) event.preventDefault();
  });
  remembered().forEach(interrupted);
}
