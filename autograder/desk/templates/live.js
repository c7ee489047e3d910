// Brings the page up to date whenever the server says that a report was written. Opened as a file, it does nothing.
"use strict";
const events = new EventSource("events");
events.onmessage = async () => {
  const answer = await fetch("latest", { cache: "no-store" });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const same = fresh.title.split(" · ")[0] === document.title.split(" · ")[0];
  const opened = new Map([...document.querySelectorAll("section[id] details")].map((d) => [name(d), d.open]));
  document.title = fresh.title;
  document.querySelector("style").replaceWith(fresh.querySelector("style"));
  document.querySelector("main").replaceWith(fresh.querySelector("main"));
  if (!same) return scrollTo(0, 0);
  for (const details of document.querySelectorAll("section[id] details"))
    if (opened.has(name(details))) details.open = opened.get(name(details));
};
const name = (details) => details.closest("section").id + details.closest("section").className + details.querySelector("summary").textContent;
