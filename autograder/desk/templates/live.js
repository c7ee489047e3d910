// Brings the page up to date whenever the server has a newer one. Opened as a file, it does nothing.
"use strict";
const PAUSE = 250; // ms between two questions
let shown = null;
const nameOf = (details) => {
  const card = details.closest("section");
  return [card.id, card.className, details.querySelector("summary").textContent].join(" ");
};
const update = async () => {
  const answer = await fetch("state", { cache: "no-store" });
  if (!answer.ok) throw new Error("gone");
  const state = await answer.text();
  if (state === shown) return;
  const page = await fetch("latest", { cache: "no-store" });
  if (!page.ok) throw new Error("gone");
  const fresh = new DOMParser().parseFromString(await page.text(), "text/html");
  shown = state;
  const same = fresh.querySelector("h1").textContent === document.querySelector("h1").textContent;
  const opened = new Map([...document.querySelectorAll("section[id] details")].map((d) => [nameOf(d), d.open]));
  document.title = fresh.title;
  document.querySelector("style").replaceWith(fresh.querySelector("style"));
  document.querySelector("main").replaceWith(fresh.querySelector("main"));
  if (!same) return scrollTo(0, 0);
  for (const details of document.querySelectorAll("section[id] details"))
    if (opened.has(nameOf(details))) details.open = opened.get(nameOf(details));
};
const gone = () => {
  shown = null;
  if (document.querySelector("#gone")) return;
  const line = document.createElement("p");
  line.id = "gone";
  line.textContent = "This page is no longer up to date: JupyterLab was started anew. Open the report again.";
  document.querySelector("main").prepend(line);
};
const watch = async () => {
  if (!document.hidden) await update().catch(gone);
  setTimeout(watch, PAUSE);
};
if (location.protocol !== "file:") watch();
