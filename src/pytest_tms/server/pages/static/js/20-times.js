// Times: <time datetime> shows how long ago it was, which is kept true, and the local time in its title;
// <time datetime data-age> shows for how long something has lasted.
(() => {
  "use strict";
  const UNITS = [["s", 60], ["min", 60], ["h", 24], ["day", Infinity]];

  function age(milliseconds) {
    let value = Math.max(0, Math.floor(milliseconds / 1000));
    for (const [unit, size] of UNITS) {
      if (value < size) return `${value} ${unit}${unit === "day" && value !== 1 ? "s" : ""}`;
      value = Math.floor(value / size);
    }
  }

  function update() {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const then = Date.parse(time.dateTime);
      if (Number.isNaN(then)) continue;
      const title = new Date(then).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
      if (time.title !== title) time.title = title;
      const passed = Date.now() - then;
      if (!("age" in time.dataset) && passed > 29 * 86400000) continue; // the server shows the date
      const text = "age" in time.dataset ? age(passed) : passed < 5000 ? "just now" : `${age(passed)} ago`;
      if (passed > -5000 && time.textContent !== text) time.textContent = text;
    }
  }

  update();
  setInterval(() => document.hidden || update(), 1000);
  document.addEventListener("tms-updated", update);
  document.addEventListener("visibilitychange", () => document.hidden || update());
})();
