// Requests, what their refusals mean, and what is remembered of uploads over a reload.

const TUS = { "Tus-Resumable": "1.0.0", Accept: "application/problem+json, text/plain;q=0.9, */*;q=0.1" };

function trouble(code, type, text) {
  if (code === 0 || code === 408 || code === 423 || code === 429 || (code >= 500 && code !== 501 && code !== 507)) {
    return new Broken(code ? words(code, type, text) : "The connection broke.");
  }
  return Object.assign(new Refused(words(code, type, text)), { code });
}

async function ask(method, url, headers = {}, signal = undefined) {
  let answer, text;
  try {
    answer = await fetch(url, { method, headers: { ...TUS, ...headers }, signal, cache: "no-store" });
    text = await answer.text();
  } catch {
    throw signal?.aborted ? new Cancelled() : new Broken("The connection broke.");
  }
  if (!answer.ok) throw trouble(answer.status, answer.headers.get("Content-Type") ?? "", text);
  return answer.headers;
}

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

const REMEMBERED = 7 * 86_400_000; // ms
const PREFIX = `netsvc-upload:${location.pathname}:`;
const keyOf = (file) => `${PREFIX}${file.name}:${file.size}:${file.lastModified}`;

function remembered() {
  const found = [];
  try {
    for (const key of Object.keys(localStorage).filter((one) => one.startsWith(PREFIX))) {
      const known = JSON.parse(localStorage.getItem(key));
      if (Date.now() - known.at < REMEMBERED) found.push({ ...known, key });
      else localStorage.removeItem(key);
    }
  } catch {
    // a browser that keeps nothing
  }
  return found;
}

function remember(key, known) {
  try {
    if (known) localStorage.setItem(key, JSON.stringify({ ...known, at: Date.now() }));
    else localStorage.removeItem(key);
  } catch {
    // as above, or it is full: then a reload begins anew
  }
}
