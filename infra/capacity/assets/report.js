// Draws `report`: {seconds: [t], pictures: [{title, note, unit, lines: [{name, color, values}]}]}.
"use strict";
(() => {
  const HEIGHT = 240;
  const place = document.getElementById("pictures");
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const number = (value) => value == null ? "–" : value.toLocaleString("en", {maximumFractionDigits: 1});
  const short = (value) => value.toLocaleString("en", {notation: "compact", maximumFractionDigits: 1});

  const options = (picture, width) => {
    const axis = {
      stroke: color("--faint"), grid: {stroke: color("--grid"), width: 1}, ticks: {stroke: color("--grid"), width: 1},
      font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif",
    };
    return {
      width, height: HEIGHT,
      scales: {x: {time: false}, y: {range: (_, low, high) => [0, Math.max(high * 1.08, 1)]}},
      axes: [
        {...axis, label: "seconds from the start", labelSize: 20, size: 34},
        {...axis, label: picture.unit, labelSize: 20, size: 52, values: (_, ticks) => ticks.map(short)},
      ],
      series: [
        {label: "second", value: (_, value) => value == null ? "–" : String(value)},
        ...picture.lines.map((line) => ({
          label: line.name, stroke: color(`--line-${line.color}`), width: 2, points: {show: report.seconds.length < 3},
          value: (_, value) => number(value),
        })),
      ],
      cursor: {sync: {key: "report"}},
    };
  };

  const frame = (picture) => {
    const [figure, title, note, canvas] = ["figure", "h2", "p", "div"].map((name) => document.createElement(name));
    title.textContent = picture.title;
    note.className = "note";
    note.textContent = picture.note;
    figure.append(title, note, canvas);
    place.append(figure);
    return canvas;
  };

  const draw = () => {
    place.replaceChildren();
    // All frames first: how wide one is depends on how many there are.
    const canvases = report.pictures.map(frame);
    report.pictures.forEach((picture, at) => {
      const data = [report.seconds, ...picture.lines.map((line) => line.values)];
      new uPlot(options(picture, canvases[at].clientWidth), data, canvases[at]);
    });
  };

  draw();
  // Colours and widths are drawn, so a change of either draws again.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let waiting;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 150); });
})();
