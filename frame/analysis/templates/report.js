"use strict";
// Sorts the table by a click on the head of a column; the page is complete without it.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const value = (row, i) => row.cells[i].dataset.value ?? row.cells[i].textContent;
  table.querySelectorAll("thead th").forEach((head, i) => {
    head.tabIndex = 0;
    head.title = "sort";
    const sort = () => {
      const less = head.getAttribute("aria-sort") !== "descending";
      const rows = [...body.rows].map((row) => [value(row, i), row]);
      const numbers = rows.every(([text]) => text === "" || text === "-" || !isNaN(text));
      const last = (text) => text === "" || text === "-";
      rows.sort(([a], [b]) => {
        if (last(a) || last(b)) return last(a) - last(b);
        const order = numbers ? a - b : a.localeCompare(b, "en", { numeric: true });
        return less ? -order : order;
      });
      for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", less ? "descending" : "ascending");
      body.append(...rows.map(([, row]) => row));
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
    });
  });
}
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details.print")) part.open = true;
});
