// What people cannot use who do not see, or see little: a small part of what axe-core looks for. Its value is a list.
(() => {
  const bad = [], name = (e) => e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent.trim()
    || document.getElementById(e.getAttribute("aria-labelledby"))?.textContent;
  const seen = (e) => e.checkVisibility();
  const say = (what, e) => bad.push(`${what}: ${e.outerHTML.slice(0, 120)}`);
  for (const e of document.querySelectorAll("svg, img, canvas, meter, progress, button, a, input, select, section, nav,"
      + " [role=region], [role=img]")) {
    if (e.closest("[aria-hidden=true]") || !seen(e)) continue;
    if (!name(e)) say("no name", e);
  }
  for (const t of document.querySelectorAll("table")) {
    if (!t.caption?.textContent) say("no caption", t);
    for (const h of t.querySelectorAll("th")) if (!h.scope) say("no scope", h);
  }
  const levels = [...document.querySelectorAll("h1, h2, h3, h4")].filter(seen).map((h) => Number(h.tagName[1]));
  levels.forEach((level, at) => {
    if (at && level > levels[at - 1] + 1) bad.push(`heading ${level} after ${levels[at - 1]}`);
  });
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) bad.push(`ids twice: ${ids.filter((id, at) => ids.indexOf(id) !== at)}`);
  for (const e of document.querySelectorAll(".scroll")) if (e.tabIndex !== 0) say("not reached by keyboard", e);
  for (const e of document.querySelectorAll("button, input, select, summary, .places a")) {
    if (seen(e) && e.getBoundingClientRect().height < 24) say("too small to hit", e);
  }
  const rgb = (text) => {
    const found = text.match(/[\d.]+/g).map(Number);
    return found.length < 4 || found[3] ? found.slice(0, 3) : null; // null: it shows what lies behind
  };
  const linear = (share) => share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const SKIPPED = "svg, :disabled, .unseen, noscript, [aria-hidden=true]";
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = texts.nextNode());) {
    const e = node.parentElement;
    if (!node.textContent.trim() || !seen(e) || e.closest(SKIPPED)) continue;
    let back = null;
    for (let at = e; at && !back; at = at.parentElement) back = rgb(getComputedStyle(at).backgroundColor);
    const [low, high] = [light(rgb(getComputedStyle(e).color)), light(back ?? [255, 255, 255])].sort((a, b) => a - b);
    if ((high + 0.05) / (low + 0.05) < 4.5) say(`contrast ${((high + 0.05) / (low + 0.05)).toFixed(2)}`, e);
  }
  return bad;
})()
