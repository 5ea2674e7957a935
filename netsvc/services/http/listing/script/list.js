// The list: it is drawn anew when something has changed, names can be deleted from it, and folders made.

const nameOf = (link) => {
  try {
    return decodeURIComponent(link.getAttribute("href").slice(2));
  } catch {
    return ""; // not UTF-8
  }
};

// Buttons into the rows, and a light on what is new.
function dress() {
  for (const row of document.querySelectorAll("#list tbody tr")) {
    const link = row.querySelector("a:not(.u)");
    if (link && arrived.has(nameOf(link))) row.classList.add("new");
    if (!("remove" in panel.dataset)) continue;
    const label = link ? `Delete ${link.textContent}` : "";
    row.append(make("td", {},
      ...(link ? [make("button", { type: "button", className: "x", ariaLabel: label, textContent: "Delete" })] : [])));
  }
  const head = document.querySelector("#list thead tr");
  if (head && "remove" in panel.dataset) {
    head.append(make("th", { scope: "col" }, make("span", { className: "sr", textContent: "Delete" })));
  }
}

let refreshing = Promise.resolve();

// The list as it is now, as the server draws it; one after the other, so that none is older than the one before.
function refresh() {
  refreshing = refreshing.then(async () => {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-cache" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("list");
    const old = document.getElementById("list");
    const href = old.contains(document.activeElement) && document.activeElement.closest("tr")?.querySelector("a")?.href;
    old.replaceWith(fresh);
    dress();
    arrived.clear();
    if (href) [...fresh.querySelectorAll("a")].find((one) => one.href === href)?.focus();
  }).catch(() => {}); // a list that is a little old does no harm
  return refreshing;
}

// A question that is answered with yes or no; with a field, by what stands in it. null for no.
function question(text, yes, field = null, problem = "") {
  const input = field && make("input", { type: "text", required: true, maxLength: 255, value: field.value,
    autocomplete: "off" });
  const dialog = make("dialog", { ariaLabel: text },
    make("form", { method: "dialog" },
      field ? make("label", {}, text, input) : make("p", { textContent: text }),
      make("p", { className: "bad", role: "alert", textContent: problem }),
      make("div", {},
        make("button", { type: "button", textContent: "Cancel", onclick: () => dialog.close("no") }),
        make("button", { value: "yes", className: field ? "" : "gone", textContent: yes }))));
  const before = document.activeElement;
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      before?.focus();
      resolve(dialog.returnValue !== "yes" ? null : input ? input.value : "yes");
    });
  });
}

async function remove(link) {
  const name = link.textContent;
  if (!(await question(`Delete ${name}? It cannot be brought back.`, "Delete"))) return;
  try {
    await ask("DELETE", link.getAttribute("href"));
    say(`${name} is deleted.`);
  } catch (error) {
    say(`${name}: ${error.message}`);
  }
  refresh();
}

async function makeFolder() {
  let problem = "";
  let value = "";
  while ((value = await question("Name of the new folder", "Make", { value }, problem)) !== null) {
    try {
      await ask("MKCOL", `./${encodeURIComponent(value)}/`);
      arrived.add(`${value.normalize("NFC")}/`);
      say(`${visible(value)}/ is made.`);
      refresh();
      return;
    } catch (error) {
      problem = error.message;
    }
  }
}
