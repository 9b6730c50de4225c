// Draws the charts of a page: each <figure data-src> is fetched, drawn by uPlot, and told again as a table.
"use strict";

const COLOURS = 9;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function line(place, count, hasOthers) {
  return hasOthers && place === count - 1 ? 8 : place % (COLOURS - 1);
}

function percent(value) {
  return value === null || value === undefined ? "–" : (100 * value).toFixed(1) + " %";
}

// Times of an axis, UTC: as much of them as tells one from the next.
function times(moments) {
  const span = moments.length > 1 ? moments[moments.length - 1] - moments[0] : 0;
  return moments.map((moment) => {
    const text = new Date(moment * 1000).toISOString();
    return span > 2 * 86400 ? text.slice(5, 10) : span > 1800 ? text.slice(11, 16) : text.slice(11, 19);
  });
}

// Lines across the chart where a definition or an order changed.
function changes(told) {
  return {
    hooks: {
      draw: (plot) => {
        const context = plot.ctx, ratio = devicePixelRatio;
        context.save();
        context.strokeStyle = context.fillStyle = colour("--faint");
        context.lineWidth = ratio;
        context.setLineDash([4 * ratio, 3 * ratio]);
        context.font = 11 * ratio + "px system-ui, sans-serif";
        told.forEach((change, place) => {
          const x = Math.round(plot.valToPos(change.at_s, "x", true));
          if (x < plot.bbox.left || x > plot.bbox.left + plot.bbox.width) return;
          context.beginPath();
          context.moveTo(x, plot.bbox.top);
          context.lineTo(x, plot.bbox.top + plot.bbox.height);
          context.stroke();
          const isLate = x > plot.bbox.left + plot.bbox.width * 0.75;
          context.textAlign = isLate ? "right" : "left";
          context.fillText(change.words, x + (isLate ? -4 : 4) * ratio, plot.bbox.top + (11 + 13 * (place % 3)) * ratio);
        });
        context.restore();
      },
    },
  };
}

function draw(figure, told) {
  const what = figure.dataset.figure, columns = told[what];
  const place = figure.querySelector(".plot"), legend = figure.querySelector(".legend");
  const hasOthers = told.arms[told.arms.length - 1] === "all others";
  place.replaceChildren();
  legend.replaceChildren();
  const words = figure.querySelector(".reason");
  words.textContent = told.reason;
  const isEmpty = told.at_s.length < 2 || columns.every((column) => column.every((value) => value === null));
  if (isEmpty) {
    place.textContent = told.at_s.length < 2
      ? "Fewer than two versions are at hand: there is no line to draw yet."
      : "It can't be told of this policy: see the table above.";
    place.className = "plot faint small";
    return;
  }
  place.className = "plot";
  const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") }, font: "11px system-ui, sans-serif" };
  const options = {
    width: place.clientWidth,
    height: 226,
    cursor: { y: false, points: { size: 6 } },
    legend: { show: false },
    scales: { y: { range: [0, 1] } },
    axes: [{ ...axis, values: (_, moments) => times(moments) }, { ...axis, size: 54, values: (_, values) => values.map((value) => Math.round(100 * value) + " %") }],
    series: [{}, ...told.arms.map((arm, index) => ({
      label: arm, stroke: colour("--c" + line(index, told.arms.length, hasOthers)), width: 1.75, spanGaps: true, points: { show: false },
      dash: hasOthers && index === told.arms.length - 1 ? [3, 3] : undefined,
    }))],
    plugins: [changes(told.changes)],
  };
  figure.plotted = new uPlot(options, [told.at_s, ...columns], place);
  told.arms.forEach((arm, index) => {
    const entry = document.createElement("li");
    entry.className = "k" + line(index, told.arms.length, hasOthers);
    entry.textContent = arm + " " + percent(columns[index][columns[index].length - 1]);
    legend.append(entry);
  });
  tell(figure, told, columns);
}

// The same as a table, for whoever reads rather than looks: up to twelve versions, evenly.
function tell(figure, told, columns) {
  const table = figure.querySelector("table");
  const step = Math.max(1, Math.ceil(told.at_s.length / 12)), head = document.createElement("tr");
  table.tHead.replaceChildren(head);
  ["version", "time (UTC)", ...told.arms].forEach((name) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    head.append(cell);
  });
  const rows = [];
  for (let index = told.at_s.length - 1; index >= 0; index -= step) {
    const row = document.createElement("tr"), first = document.createElement("th");
    first.scope = "row";
    first.textContent = told.versions[index];
    row.append(first);
    [new Date(told.at_s[index] * 1000).toISOString().slice(0, 19).replace("T", " "), ...columns.map((column) => percent(column[index]))].forEach((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      row.append(cell);
    });
    rows.push(row);
  }
  table.tBodies[0].replaceChildren(...rows);
}

async function load(figures) {
  if (!figures.length) return;
  const answers = new Map();
  for (const figure of figures) {
    const address = figure.dataset.src;
    if (!answers.has(address)) answers.set(address, fetch(address).then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status))));
    try {
      figure.told = await answers.get(address);
      draw(figure, figure.told);
      figure.dataset.drawn = "yes";
    } catch (why) {
      figure.querySelector(".plot").textContent = "The lines can't be had at present (" + why + "): load the page again.";
    }
  }
}

const figures = () => [...document.querySelectorAll("figure[data-src]")];
const again = () => figures().forEach((figure) => figure.told && draw(figure, figure.told));

document.addEventListener("DOMContentLoaded", () => load(figures()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) again();
  width = innerWidth;
});
