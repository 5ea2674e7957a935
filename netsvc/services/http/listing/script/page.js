// What all parts share: the elements of the page, and how things are said. The parts stand in the page one after the
// other, as one module. Whatever is shown is set as text, never as HTML.

const panel = document.getElementById("panel");
const form = panel.querySelector("form");
const rows = panel.querySelector("ul");
const status = panel.querySelector("[role=status]");
const items = new Set(); // files on their way, each with its row
const arrived = new Set(); // names that came into the list last

class Refused extends Error {} // for good; the message is for people
class Exists extends Error {} // a file of that name is there
class Gone extends Error {} // the server knows nothing of this upload
class Broken extends Error {} // try again
class Cancelled extends Error {}

const WORDS = {
  400: "The server did not understand this.",
  401: "You are not signed in any more. Reload this page.",
  403: "This is not allowed here.",
  404: "This directory is not there any more.",
  405: "This cannot be done here.",
  409: "There is something of that name already.",
  413: "It is larger than what may be put here.",
  507: "There is no room for it.",
};

// Characters that cannot be seen, or that turn the direction of text, are spelled out.
const visible = (text) =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (one) => `U+${one.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`);

function size(octets) {
  if (octets < 1024) return `${octets} B`;
  const power = Math.min(4, Math.floor(Math.log2(octets) / 10));
  return `${(octets / 1024 ** power).toFixed(1)} ${["", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

function duration(seconds) {
  const s = Math.ceil(seconds);
  if (s < 60) return `${s} s`;
  return s < 3600 ? `${Math.round(s / 60)} min` : `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
}

// The server's own words for a problem (RFC 9457, or plain text); ours where it has none.
function words(code, type, text) {
  let said = "";
  if (/^application\/(problem\+)?json\b/.test(type)) {
    try {
      const problem = JSON.parse(text);
      said = String(problem.detail || problem.title || "");
    } catch {
      // no JSON after all
    }
  } else if (/^text\/plain\b/.test(type)) {
    said = text.trim();
  }
  said = said.slice(0, 300) || WORDS[code] || `The server answered ${code}.`;
  return visible(said.charAt(0).toUpperCase() + said.slice(1)).replace(/[^.!?]$/, "$&.");
}

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Say it aloud (WAI-ARIA, role status); shown too, where no row shows it.
function say(text, shown = true) {
  status.textContent = text;
  status.classList.toggle("sr", !shown);
}
