// Sparklines: the last two minutes, the newest second at the right edge.

const NS = "http://www.w3.org/2000/svg";
const WIDTH = 119;
const HEIGHT = 44;

// `lines` are { values, class }, drawn in one scale from zero up to the greatest of all values; null
// breaks a line. The first one gets an area below it.
export function draw(svg, lines) {
  if (!svg.firstElementChild) begin(svg, lines);
  const peak = Math.max(0, ...lines.flatMap((line) => line.values.filter((value) => value !== null)));
  lines.forEach((line, at) => {
    const runs = runsOf(line.values, peak);
    svg.children[2 + at].setAttribute("d", runs.map(path).join(""));
    if (at === 0) svg.children[1].setAttribute("d", runs.map(area).join(""));
  });
  return peak;
}

function begin(svg, lines) {
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  add(svg, "base").setAttribute("d", `M0 ${HEIGHT}H${WIDTH}`);
  add(svg, "area");
  for (const line of lines) add(svg, line.class);
}

function add(svg, name) {
  const element = document.createElementNS(NS, "path");
  element.setAttribute("class", name);
  svg.append(element);
  return element;
}

function runsOf(values, peak) {
  const runs = [];
  let run = null;
  values.forEach((value, at) => {
    if (value === null) {
      run = null;
      return;
    }
    if (run === null) runs.push((run = []));
    const x = WIDTH - (values.length - 1 - at);
    const y = peak > 0 ? HEIGHT - 1 - (value / peak) * (HEIGHT - 4) : HEIGHT - 1;
    run.push([x, y.toFixed(1)]);
  });
  return runs;
}

function path(run) {
  return run.map(([x, y], at) => `${at === 0 ? "M" : "L"}${x} ${y}`).join("");
}

function area(run) {
  return `${path(run)}L${run[run.length - 1][0]} ${HEIGHT}L${run[0][0]} ${HEIGHT}Z`;
}
