import type { Finding } from './finding.ts';

const stateColumns = 8;
const checkColumns = 14;

/** Lines for people: state, part, what it means, and under it what to do; the last line counts. */
export function renderText(findings: Finding[]): string {
  const indent = ' '.repeat(stateColumns + checkColumns);
  const lines = findings.flatMap(({ state, check, message, remedy }) => [
    `${state.padEnd(stateColumns)}${check.padEnd(checkColumns)}${message}`,
    ...(remedy === undefined ? [] : [`${indent}-> ${remedy}`]),
  ]);
  const { fault, warning, ok } = countStates(findings);
  return [...lines, '', `${plural(fault, 'fault')}, ${plural(warning, 'warning')}, ${ok} ok`].join(
    '\n',
  );
}

/** `{"status", "counts", "findings"}`; the status is that of the worst finding. */
export function renderJson(findings: Finding[]): string {
  return JSON.stringify(
    { status: worstState(findings), counts: countStates(findings), findings },
    null,
    2,
  );
}

export function worstState(findings: Finding[]): Finding['state'] {
  const counts = countStates(findings);
  if (counts.fault > 0) return 'fault';
  return counts.warning > 0 ? 'warning' : 'ok';
}

function countStates(findings: Finding[]): Record<Finding['state'], number> {
  const counts = { ok: 0, warning: 0, fault: 0 };
  for (const { state } of findings) counts[state] += 1;
  return counts;
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
