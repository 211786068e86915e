// Brings the page up to date every two seconds, without losing the reader's place; says so when the gateway is gone.
"use strict";
const EVERY_MS = 2000;

async function refresh() {
  try {
    const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["now", "live"]) {
      const old = document.getElementById(id);
      const scrolled = [...old.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
      old.replaceChildren(...document.importNode(fresh.getElementById(id), true).childNodes);
      old.querySelectorAll(".scroll").forEach((box, n) => { box.scrollLeft = scrolled[n] || 0; });
    }
    document.documentElement.classList.remove("lost");
  } catch {
    document.documentElement.classList.add("lost");
    document.getElementById("live").textContent = "no answer from the gateway; what stands below is old";
  }
}

async function loop() {
  const selecting = () => String(document.getSelection()) !== "";
  if (!document.hidden && !selecting()) await refresh();
  setTimeout(loop, EVERY_MS);
}

setTimeout(loop, EVERY_MS);
