// Live pages: <main data-live="URL of the stream">. On an event, the page is loaded again, and what has changed
// in its regions (data-live-region, each with an id) is changed in place: what is open, focused, selected or
// scrolled stays so. Where the stream does not work, the page is polled.
(() => {
  "use strict";
  const main = document.querySelector("main[data-live]");
  if (!main || !window.EventSource) return;

  const PAUSE = 500; // ms between two loads at least, and four times as long as a load takes
  const POLL = 3000; // between two loads without a stream, while a run is in progress
  const POLL_IDLE = 20000; // the same otherwise, and in a hidden tab, whose title shows the state
  const OPENING = 5000; // until the first event of a stream; a proxy may withhold it
  const SILENCE = 40000; // without a heartbeat: the stream is dead
  const RETRY = 30000; // until a stream that was refused is tried again

  let source = null;
  let isHeard = false; // whether the stream has sent anything
  let heardAt = 0;
  let retryAt = 0;
  let version = versionOf(main);
  let newest = version || ""; // of which an event told
  let etag = "";
  let isDue = false;
  let isLoading = false;
  let loadedAt = performance.now();
  let nextAt = 0; // no load before
  let timer = 0;
  let failures = 0;
  let isRunning = isOfRun(document);

  const status = document.createElement("p");
  status.className = "live-status";
  status.setAttribute("role", "status");
  main.before(status);

  function versionOf(element) {
    return new URL(element.dataset.live, location.href).searchParams.get("version");
  }

  // Only pages of a run in progress refresh themselves without a script.
  function isOfRun(page) {
    return page.head.querySelector("noscript") !== null;
  }

  function request() {
    isDue = true;
    if (isLoading) return;
    clearTimeout(timer);
    timer = setTimeout(load, Math.max(0, nextAt - performance.now()));
  }

  async function load() {
    if (isLoading) return;
    isLoading = true;
    isDue = false;
    const begun = performance.now();
    const seen = newest;
    try {
      const headers = etag ? { "If-None-Match": etag } : {};
      const response = await fetch(location.href, { headers, cache: "no-store" });
      if (response.redirected || [401, 403, 404].includes(response.status)) return location.reload();
      if (response.status !== 304) {
        if (!response.ok) throw new Error(String(response.status));
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        etag = response.headers.get("ETag") || "";
        show(page, seen);
      }
      failures = 0;
      status.textContent = "";
    } catch {
      failures += 1;
      isDue = true;
      if (failures > 1) status.textContent = "Updates are paused: the server does not respond. Trying again.";
    }
    isLoading = false;
    loadedAt = performance.now();
    nextAt = loadedAt + Math.max(PAUSE, 4 * (loadedAt - begun), failures && Math.min(30000, 1000 * 2 ** failures));
    if (isDue) request();
  }

  function show(page, seen) {
    const wanted = page.querySelector("main");
    if (!wanted) return location.reload();
    const focused = document.activeElement;
    const regions = (element) => [...element.querySelectorAll("[data-live-region]")];
    const ids = (element) => regions(element).map((region) => region.id).join(" ");
    if (ids(main) && ids(main) === ids(wanted)) {
      const found = regions(wanted);
      regions(main).forEach((region, index) => morph(region, found[index]));
    } else {
      morphChildren(main, wanted);
    }
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    // The page of a run that has ended names no stream. It is followed nevertheless: the run may be re-opened.
    main.dataset.live = wanted.dataset.live || `${main.dataset.live.split("?")[0]}?version=${seen}`;
    version = versionOf(main);
    isRunning = isOfRun(page);
    document.title = page.title;
    const [icon, newIcon] = [document, page].map((each) => each.querySelector("link[rel=icon]"));
    if (icon && newIcon && !icon.isEqualNode(newIcon)) icon.setAttribute("href", newIcon.getAttribute("href"));
    document.dispatchEvent(new Event("tms-updated"));
  }

  // What identifies an element among its siblings: its id, or of a row its first link.
  function key(node) {
    if (node.nodeType !== 1) return "";
    if (node.id) return "#" + node.id;
    const link = /^(LI|TR|DETAILS|ARTICLE)$/.test(node.nodeName) && node.querySelector("a[href]");
    return link ? link.getAttribute("href") : "";
  }

  function morph(from, to) {
    if (from.nodeName !== to.nodeName) return from.replaceWith(document.importNode(to, true));
    if (from.nodeType !== 1) {
      if (from.data !== to.data) from.data = to.data;
      return;
    }
    if (from.nodeName === "TIME" && from.dateTime === to.dateTime) return; // its text is that of the script
    const isOurs = (name) => name === "open" && from.nodeName === "DETAILS";
    for (const { name, value } of to.attributes) {
      if (!isOurs(name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    for (const { name } of [...from.attributes]) {
      if (!isOurs(name) && !to.hasAttribute(name)) from.removeAttribute(name);
    }
    morphChildren(from, to);
  }

  function morphChildren(from, to) {
    const present = new Map();
    for (const child of from.children) {
      const name = key(child);
      if (name && !present.has(name)) present.set(name, child);
    }
    const wantedKeys = new Set([...to.children].map(key));
    let at = from.firstChild;
    const drop = () => {
      const next = at.nextSibling;
      at.remove();
      at = next;
    };
    for (const wanted of to.childNodes) {
      while (at && key(at) && !wantedKeys.has(key(at))) drop();
      const name = key(wanted);
      const same = name && present.get(name);
      if (same) {
        present.delete(name);
        // An element that is moved loses the focus, so what is before it is removed instead.
        while (at && at !== same && at.nodeType === 3 && !at.data.trim()) drop();
        if (at === same) at = at.nextSibling;
        else from.insertBefore(same, at);
        morph(same, wanted);
      } else if (at && !name && !key(at) && at.nodeName === wanted.nodeName) {
        const next = at.nextSibling;
        morph(at, wanted);
        at = next;
      } else {
        from.insertBefore(document.importNode(wanted, true), at);
      }
    }
    while (at) drop();
  }

  function connect() {
    if (source || document.hidden || performance.now() < retryAt) return;
    isHeard = false;
    heardAt = performance.now();
    const opened = (source = new EventSource(main.dataset.live));
    const hear = (event) => {
      if (opened !== source) return;
      isHeard = true;
      heardAt = performance.now();
      newest = event.data;
      if (event.type === "changed" ? event.data !== version : version === null && event.type === "opened") request();
    };
    for (const name of ["opened", "changed", "heartbeat"]) source.addEventListener(name, hear);
    source.onerror = () => {
      isHeard = false;
      if (opened === source && source.readyState === EventSource.CLOSED) {
        disconnect();
        retryAt = performance.now() + RETRY;
      }
    };
  }

  function disconnect() {
    if (source) source.close();
    source = null;
    isHeard = false;
  }

  function watch() {
    const now = performance.now();
    if (source && now - heardAt > SILENCE) disconnect();
    connect();
    if (isHeard || (source && now - heardAt < OPENING)) return;
    const pause = isRunning && !document.hidden ? POLL : POLL_IDLE;
    if (now - loadedAt > pause && (isRunning || !document.hidden)) request();
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return disconnect();
    connect();
    if (isDue || !source) request();
  });
  window.addEventListener("pagehide", disconnect);
  window.addEventListener("pageshow", connect);
  setInterval(watch, 1000);
})();
