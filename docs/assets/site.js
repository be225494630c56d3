// A table that is wider than its place is scrolled, and so can be reached with the keys. The theme wraps tables after this runs.
document$.subscribe(() => setTimeout(() => {
  const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    if (target.scrollWidth <= target.clientWidth) return ["tabindex", "role", "aria-label"].forEach((name) => target.removeAttribute(name));
    for (const [name, value] of [["tabindex", "0"], ["role", "group"], ["aria-label", "Table"]]) target.setAttribute(name, value);
  }));
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((place) => sizes.observe(place));
}));
