// What pages do by themselves: they follow what happens, and ask before what
// cannot be taken back. Without this script they work all the same, and stand
// still.
"use strict";

(() => {
  const body = document.body;
  const sign = document.getElementById("live");

  // Parts are what is replaced when the page has changed.
  const parts = () => document.querySelectorAll("[data-part]");

  const busy = (part) => {
    const active = document.activeElement;
    if (active && part.contains(active) && active.matches("input, textarea, select")) return true;
    const selection = window.getSelection();
    return Boolean(selection && !selection.isCollapsed && part.contains(selection.anchorNode));
  };

  const keep = (from, to) => {
    for (const open of from.querySelectorAll("details[id]")) {
      const same = to.querySelector("#" + CSS.escape(open.id));
      if (same) same.open = open.open;
    }
  };

  const address = (element) => {
    if (!element) return null;
    if (element.id) return "#" + CSS.escape(element.id);
    const href = element.getAttribute("href");
    return href ? element.tagName.toLowerCase() + '[href="' + CSS.escape(href) + '"]' : null;
  };

  let loading = false;
  let again = false;
  const refresh = async () => {
    if (loading) {
      again = true;
      return;
    }
    loading = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.redirected) {
        location.reload();
        return;
      }
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of parts()) {
        const fresh = page.getElementById(part.id);
        if (!fresh || busy(part) || fresh.innerHTML === part.innerHTML) continue;
        keep(part, fresh);
        const focused = part.contains(document.activeElement) ? address(document.activeElement) : null;
        part.replaceChildren(...fresh.childNodes);
        if (focused) part.querySelector(focused)?.focus();
      }
    } catch {
      // The stream tells when the engine is away.
    } finally {
      loading = false;
      if (again) {
        again = false;
        soon();
      }
    }
  };

  // Many messages make one look, and looks are a while apart.
  let timer = 0;
  let last = 0;
  const soon = () => {
    if (timer || document.hidden) return;
    const wait = Math.max(150, last + 1000 - Date.now());
    timer = setTimeout(() => {
      timer = 0;
      last = Date.now();
      refresh();
    }, wait);
  };

  const say = (state, text) => {
    if (!sign) return;
    sign.dataset.state = state;
    sign.textContent = text;
  };

  const query = body.dataset.live;
  if (query && window.EventSource && sign) {
    let paused = false;
    let source = null;
    const hear = () => {
      if (!paused) soon();
    };
    // Browsers have few connections to one server: who is not looked at has none.
    const listen = () => {
      if (document.hidden) {
        source?.close();
        source = null;
        return;
      }
      if (source) return;
      source = new EventSource("/api/v1/stream?" + query);
      for (const topic of ["transition", "event", "decision", "run"]) source.addEventListener(topic, hear);
      source.addEventListener("ready", () => {
        say(paused ? "paused" : "live", paused ? "Paused" : "Live");
        hear();
      });
      source.addEventListener("error", () => {
        say("away", "Not connected");
        if (source.readyState !== EventSource.CLOSED) return;
        source = null; // it was refused, and does not try again by itself
        setTimeout(listen, 5000);
      });
    };
    listen();
    sign.disabled = false;
    sign.addEventListener("click", () => {
      paused = !paused;
      sign.setAttribute("aria-pressed", String(paused));
      say(paused ? "paused" : "live", paused ? "Paused" : "Live");
      clearTimeout(timer);
      timer = 0;
      if (!paused) soon();
    });
    document.addEventListener("visibilitychange", listen);
    setInterval(hear, 30000); // times that are told as "a while ago" move on
  }

  // Before what cannot be taken back it is asked.
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });

  // "/" goes to the search.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, textarea, select")) return;
    const search = document.getElementById("search");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  });

  // A bar leads to the change that began it; a part of a timeline is looked at
  // closer by dragging over it.
  let begin = null;
  const place = (strip, event) => {
    const box = strip.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  };
  document.addEventListener("pointerdown", (event) => {
    const strip = event.target.closest(".timeline .strip");
    begin = strip && event.button === 0 ? { strip, at: place(strip, event) } : null;
  });
  document.addEventListener("pointerup", (event) => {
    if (!begin) return;
    const { strip, at } = begin;
    begin = null;
    const end = place(strip, event);
    if (Math.abs(end - at) < 0.01) {
      const bar = event.target.closest("[data-to]");
      if (bar && document.getElementById(bar.dataset.to)) location.hash = bar.dataset.to;
      return;
    }
    const line = strip.closest(".timeline");
    const from = Date.parse(line.dataset.from);
    const to = Date.parse(line.dataset.to);
    const moment = (share) => new Date(from + (to - from) * share).toISOString();
    location.search = new URLSearchParams({ from: moment(Math.min(at, end)), to: moment(Math.max(at, end)) }).toString();
  });
})();
