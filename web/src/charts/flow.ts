// The stream of questions through the stages: what stays flows on, what is lost ends with its reason.

import {
  type SankeyLink,
  type SankeyNode,
  sankey,
  sankeyLeft,
  sankeyLinkHorizontal,
} from "d3-sankey";
import { svg } from "../dom";
import type { Bars, Flow, FlowNode } from "../types";
import { fitted } from "./parts";
import { drawBars } from "./rows";

type Link = { n: number };
type Node = SankeyNode<FlowNode, Link> & { layer?: number };

const NARROW = 680;
const LINE = 15;
/** Height of a line of a label. */

export function drawFlow(chart: Flow, width: number): SVGElement | HTMLElement {
  return width < NARROW ? drawBars(asBars(chart), width) : drawSankey(chart, width);
}

function drawSankey(chart: Flow, width: number): SVGElement {
  const columns = columnsOf(chart);
  const nColumns = Math.max(...columns.values()) + 1;
  const inColumn = Array.from({ length: nColumns }, () => 0);
  for (const column of columns.values()) inColumn[column] = (inColumn[column] ?? 0) + 1;
  const height = Math.max(220, Math.max(...inColumn) * 3 * LINE + 130);
  const labels = Math.min(240, width / (nColumns + 0.4) - 24);
  const layout = sankey<FlowNode, Link>()
    .nodeId((node) => node.id)
    .nodeAlign(sankeyLeft)
    .nodeSort((a, b) => rank(a) - rank(b))
    .linkSort((a, b) => linkRank(a) - linkRank(b))
    .nodeWidth(10)
    .nodePadding(2 * LINE + 8)
    .extent([
      [0, 2 * LINE + 8],
      [width - labels - 12, height - LINE],
    ]);
  const graph = layout.iterations(0)({
    nodes: chart.nodes.map((node) => ({ ...node })),
    links: chart.links.map(({ source, target, n }) => ({ source, target, value: n, n })),
  });
  stackFromTop(graph.nodes, 2 * LINE + 8);
  layout.update(graph);
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, width, height, class: "flow" },
    svg("g", { "aria-hidden": "true" }, ...graph.links.map(drawLink)),
    ...graph.nodes.map((node) => drawNode(node, labels)),
  );
}

/** What is kept flows on in a straight line along the top. */
function stackFromTop(nodes: Node[], gap: number): void {
  const ends = new Map<number, number>();
  for (const node of [...nodes].sort((a, b) => rank(a) - rank(b))) {
    const column = node.layer ?? 0;
    const top = ends.get(column) ?? gap;
    node.y1 = top + (node.y1 ?? 0) - (node.y0 ?? 0);
    node.y0 = top;
    ends.set(column, node.y1 + gap);
  }
}

/** The longest way from the first node to each. */
function columnsOf(chart: Flow): Map<string, number> {
  const columns = new Map(chart.nodes.map((node) => [node.id, 0]));
  for (const { source, target } of chart.links) {
    columns.set(target, (columns.get(source) ?? 0) + 1); // links come in the order of the stages
  }
  return columns;
}

function rank(node: Node): number {
  return node.kind === "kept" ? 0 : 1 + 1 / (1 + (node.value ?? 0));
}

function linkRank({ target, n }: SankeyLink<FlowNode, Link>): number {
  return (target as Node).kind === "kept" ? 0 : 1 + 1 / (1 + n);
}

function drawLink(link: SankeyLink<FlowNode, Link>): SVGElement {
  const target = link.target as Node;
  return svg("path", {
    class: `stream ${target.kind}`,
    d: sankeyLinkHorizontal()(link) ?? "",
    "stroke-width": Math.max(1, link.width ?? 0),
  });
}

function drawNode(node: Node, width: number): SVGElement {
  const [x, y0, x1, y1] = [node.x0 ?? 0, node.y0 ?? 0, node.x1 ?? 0, node.y1 ?? 0];
  const share = `${node.n.toLocaleString("en")} (${node.text})`;
  const stage = node.stage ? `${node.stage}: ` : "";
  // The label of what flows on stands above it; of what ends here, beside it.
  const flowsOn = (node.sourceLinks?.length ?? 0) > 0;
  const [left, top] = flowsOn ? [x, y0 - LINE - 5] : [x1 + 6, (y0 + y1) / 2 - 2];
  const content = [
    svg("title", {}, `${stage}${node.name}: ${share} of the questions`),
    svg("rect", { x, y: y0, width: x1 - x, height: Math.max(1, y1 - y0), class: node.kind }),
    svg(
      "text",
      { x: left, y: top },
      svg("tspan", { class: "name" }, fitted(node.name, 0.88 * width)),
      svg("tspan", { x: left, dy: LINE }, share),
    ),
  ];
  return node.href ? svg("a", { href: node.href }, ...content) : svg("g", {}, ...content);
}

/** On a narrow screen: a bar for each end of the stream. */
function asBars(chart: Flow): Bars {
  const total = chart.links
    .filter(({ source }) => source === "read")
    .reduce((sum, { n }) => sum + n, 0);
  const ends = chart.nodes.filter((node) => chart.links.every(({ source }) => source !== node.id));
  const rows = ends.map((node) => {
    return {
      y: node.name,
      series: node.kind === "kept" ? "Kept" : "Left out",
      value: (100 * node.n) / total,
      text: node.text,
      n: total,
      k: node.n,
      ...(node.href ? { href: node.href } : {}),
    };
  });
  return {
    kind: "bars",
    title: chart.title,
    x: "share of all questions, %",
    series: [
      { name: "Kept", colour: "kept" },
      { name: "Left out", colour: "lost" },
    ],
    rows,
  };
}
