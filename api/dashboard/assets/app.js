// Parts of a page that change by themselves. The server renders them; this puts them in their places. Without it, or
// without its stream, the page stands still and is complete.

const zone = new Intl.DateTimeFormat(undefined, {hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false});
const day = new Intl.DateTimeFormat(undefined, {day: "numeric", month: "short"});

// localise shows moments in the reader's time zone.
function localise(scope) {
  const today = day.format(new Date());
  for (const time of scope.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    time.title = time.dateTime;
    time.textContent = day.format(at) === today ? zone.format(at) : day.format(at) + " " + zone.format(at);
  }
}

const main = document.getElementById("main");
const state = document.getElementById("live");
const shown = new Map();

// place replaces the parts that have changed, except one that the reader is in the midst of.
function place(html) {
  const box = document.createElement("template");
  box.innerHTML = html;
  for (const fresh of box.content.querySelectorAll("[data-part]")) {
    const text = fresh.outerHTML;
    const old = document.getElementById(fresh.id);
    if (!old || shown.get(fresh.id) === text || old.matches(":focus-within") || old.matches(".chart:hover")) continue;
    const open = [...old.querySelectorAll("details")].map(d => d.open);
    shown.set(fresh.id, text);
    localise(fresh);
    fresh.querySelectorAll("details").forEach((d, i) => { if (i in open) d.open = open[i]; });
    old.replaceWith(fresh);
  }
}

let source = null;

function say(word, kind) {
  state.textContent = word;
  state.className = "state " + kind;
}

function listen() {
  if (source || !main.dataset.live || document.hidden) return;
  source = new EventSource(main.dataset.live);
  source.onmessage = event => { say("live", "on"); place(event.data); };
  source.addEventListener("gone", () => { stop(); location.reload(); });
  source.onerror = () => {
    say("reconnecting", "off");
    if (source && source.readyState === EventSource.CLOSED) { stop(); setTimeout(listen, 5000); }
  };
}

function stop() {
  if (source) source.close();
  source = null;
}

localise(document);
listen();
document.addEventListener("visibilitychange", () => document.hidden ? stop() : listen());
window.addEventListener("pagehide", stop);
window.addEventListener("pageshow", listen);
document.addEventListener("keydown", event => {
  const field = document.getElementById("q");
  if (event.key === "/" && field && document.activeElement === document.body) {
    event.preventDefault();
    field.focus();
  }
});
