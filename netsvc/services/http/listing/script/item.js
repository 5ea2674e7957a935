// One file on its way, by tus 1.0 (https://tus.io/protocols/resumable-upload). What broke goes on: after a fault, when
// the network is back, and after a reload, once the same file is chosen again.

const STALL = 30_000; // ms without progress until a connection is given up
const COMMIT = 300_000; // ms that the server may take to keep a file that has arrived
const WAITS = [1, 2, 4, 8, 15, 30]; // s between tries; the last one again and again

class Item {
  constructor(name, file) {
    this.name = name;
    this.file = file;
    this.url = null;
    this.offset = 0;
    this.replace = false;
    this.tries = 0;
    this.text = make("small", {});
    this.bar = make("progress", { max: 1, value: 0, ariaLabel: `Progress of ${visible(name)}` });
    this.buttons = make("div", {});
    this.row = make("li", {}, make("span", {}, make("bdi", { textContent: visible(name) }), this.text), this.buttons,
      this.bar);
    items.add(this);
    rows.append(this.row);
  }

  // Show a state: the class of the row, a text, and a button for each [word, what it does].
  show(state, text, ...buttons) {
    const focused = this.buttons.contains(document.activeElement);
    this.state = state;
    this.row.className = state;
    this.text.textContent = text;
    this.buttons.replaceChildren(...buttons.map(([word, act]) =>
      make("button", { type: "button", textContent: word, ariaLabel: `${word} ${visible(this.name)}`, onclick: act })));
    if (focused) this.buttons.querySelector("button")?.focus();
  }

  progress(done) {
    const now = performance.now();
    this.bar.value = this.file.size ? done / this.file.size : 1;
    if (!this.mark || done < this.mark.done) this.mark = { now, done };
    const seconds = (now - this.mark.now) / 1000;
    if (seconds > 0.5) {
      const rate = (done - this.mark.done) / seconds;
      this.rate = this.rate === undefined ? rate : 0.7 * this.rate + 0.3 * rate;
      this.mark = { now, done };
    }
    let text = `${size(done)} of ${size(this.file.size)}`;
    if (this.rate > 0) text += `, ${size(this.rate)}/s, ${duration((this.file.size - done) / this.rate)} left`;
    this.text.textContent = done < this.file.size ? text : "Being checked\u2026";
  }

  close() {
    const focused = this.row.contains(document.activeElement);
    items.delete(this);
    this.row.remove();
    if (focused) (rows.querySelector("button") ?? document.getElementById("files")).focus();
  }

  wait() {
    this.show("wait", "Waiting.", ["Cancel", () => this.cancel()]);
    next();
  }

  retry() {
    this.tries = 0;
    this.wait();
  }

  // The person does not want it: what the server has of it goes as well.
  cancel() {
    this.stop?.abort();
    this.call?.abort();
    if (this.url) ask("DELETE", this.url).catch(() => {});
    remember(this.key, null);
    say(`${visible(this.name)}: cancelled.`);
    this.close();
  }

  async run() {
    this.stop = new AbortController();
    this.show("send", "Starting\u2026", ["Cancel", () => this.cancel()]);
    try {
      while (!(await this.attempt()));
      remember(this.key, null);
      this.show("good", "Uploaded.");
      say(`${visible(this.name)} is uploaded.`);
      arrived.add(this.name.normalize("NFC"));
      refresh().then(() => this.close());
    } catch (error) {
      if (error instanceof Cancelled || this.stop.signal.aborted) return;
      this.fail(error);
    }
  }

  fail(error) {
    if (error instanceof Exists) {
      this.show("ask", "There is a file of this name. Replace it?",
        ["Replace", () => { this.replace = true; this.wait(); }], ["Keep", () => this.close()]);
    } else {
      const again = error.code === 400 ? [] : [["Retry", () => this.retry()]]; // a name that may not be stays so
      this.show("bad", error.message, ...again, ["Dismiss", () => this.close()]);
    }
    say(`${visible(this.name)}: ${this.text.textContent}`, false);
  }

  // One attempt; whether the file is there as a whole.
  async attempt() {
    try {
      if (this.url) await this.locate();
      else await this.create();
      if (this.conflict && this.offset === this.file.size) throw this.anew(new Exists());
      this.conflict = false;
      this.show("send", "", ["Cancel", () => this.cancel()]);
      this.progress(this.offset);
      while (this.offset < this.file.size) await this.send();
      return true;
    } catch (error) {
      if (this.stop.signal.aborted) throw new Cancelled();
      if (error instanceof Gone) {
        this.anew();
        if (this.whole && !this.replace && (await this.isThere())) return true;
        if (this.tries++ === 0) return false;
        error = new Broken("The server does not know this upload any more.");
      }
      if (!(error instanceof Broken)) throw error;
      await this.file.slice(0, 1).arrayBuffer().catch(() => {
        throw new Refused("This file has changed or gone since it was chosen. Choose it again.");
      });
      await this.pause(error.message);
      return false;
    }
  }

  async create() {
    const headers = {
      "Upload-Length": String(this.file.size),
      "Upload-Metadata": `filename ${base64(this.name)}`,
    };
    if (!this.replace) headers["If-None-Match"] = "*";
    try {
      const answer = await ask("POST", "./", headers, this.stop.signal);
      const { pathname, search } = new URL(answer.get("Location"), location.href);
      this.url = pathname + search;
      this.offset = 0;
      this.whole = false;
    } catch (error) {
      throw !this.replace && error.code === 412 ? new Exists() : error; // 409: it is not the account's to replace
    }
    remember(this.key, { url: this.url, name: this.name, size: this.file.size });
  }

  // What the server had of it is of no use: forget that, and hand on why.
  anew(reason) {
    if (reason) ask("DELETE", this.url).catch(() => {});
    this.url = null;
    this.conflict = false;
    remember(this.key, null);
    return reason;
  }

  // Where the upload stands on the server.
  async locate() {
    try {
      const answer = await ask("HEAD", this.url, {}, this.stop.signal);
      this.offset = Number(answer.get("Upload-Offset"));
    } catch (error) {
      throw error.code === 403 || error.code === 404 || error.code === 410 ? new Gone() : error;
    }
  }

  // Whether the file that was sent as a whole stands in the directory: the answer that would have said so was lost.
  async isThere() {
    try {
      const answer = await fetch("./", { headers: { Accept: "application/json" }, cache: "no-cache" });
      const { entries } = await answer.json();
      return entries.some((one) => one.name === this.name.normalize("NFC") && one.size === this.file.size);
    } catch {
      return false; // it is begun anew
    }
  }

  send() {
    const from = this.offset;
    const to = Math.min(this.file.size, from + Number(panel.dataset.chunk));
    return new Promise((resolve, reject) => {
      const call = new XMLHttpRequest(); // fetch does not tell how far it is
      let timer;
      const watch = (time) => {
        clearTimeout(timer);
        timer = setTimeout(() => call.abort(), time);
      };
      call.upload.onprogress = (event) => {
        watch(event.loaded < to - from ? STALL : COMMIT);
        this.progress(from + event.loaded);
      };
      call.upload.onload = () => { this.whole = to === this.file.size; };
      call.onloadend = () => {
        clearTimeout(timer);
        this.call = null;
        const offset = Number(call.getResponseHeader("Upload-Offset"));
        if (call.status >= 200 && call.status < 300 && offset > from) {
          this.offset = offset;
          this.tries = 0;
          resolve();
        } else if (call.status === 404 || call.status === 410) {
          reject(new Gone());
        } else if (call.status === 412) {
          reject(this.anew(new Exists()));
        } else if (call.status === 409) { // it stands elsewhere, or somebody else was faster with this name
          this.conflict = true;
          reject(new Broken("The server has it otherwise."));
        } else {
          reject(trouble(call.status, call.getResponseHeader("Content-Type") ?? "", call.responseText));
        }
      };
      call.open("PATCH", this.url);
      const fields = { ...TUS, "Upload-Offset": from, "Content-Type": "application/offset+octet-stream" };
      for (const [name, value] of Object.entries(fields)) call.setRequestHeader(name, value);
      watch(STALL);
      this.call = call;
      call.send(this.file.slice(from, to));
    });
  }

  pause(reason) {
    const seconds = WAITS[Math.min(this.tries++, WAITS.length - 1)] * (0.75 + Math.random() / 2);
    const text = navigator.onLine ? `${reason} Trying again in ${duration(seconds)}.`
      : "There is no network. This goes on when it is back.";
    this.rate = this.mark = undefined;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, seconds * 1000);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
      this.stop.signal.addEventListener("abort", () => reject(new Cancelled()));
      this.show("wait", text, ["Try now", this.wake], ["Cancel", () => this.cancel()]);
      say(`${visible(this.name)}: ${reason}`, false);
    }).finally(() => { this.wake = null; });
  }
}
