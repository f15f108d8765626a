import type { Ledger } from './compile-ledger.ts';
import type { LatencySummary } from './read-latency.ts';

/** The ledger in Markdown, as docs/reliability.md shows it. */
export function printLedger(ledger: Ledger): string {
  const { run, classes, calls, reads } = ledger;
  const total = (key: Exclude<keyof Ledger['classes'][number], 'class'>): number =>
    classes.reduce((sum, each) => sum + each[key], 0);
  const rowOf = (each: Ledger['classes'][number]): (string | number)[] => [
    each.class,
    each.connections,
    each.exchanges,
    each.answersLost,
    each.replaysAllowed,
    each.replaysPrescribed,
    each.replaysForbidden,
    each.familyRevocations,
    each.grantsLost,
  ];
  const all = {
    class: 'all',
    connections: total('connections'),
    exchanges: total('exchanges'),
    answersLost: total('answersLost'),
    replaysAllowed: total('replaysAllowed'),
    replaysPrescribed: total('replaysPrescribed'),
    replaysForbidden: total('replaysForbidden'),
    familyRevocations: total('familyRevocations'),
    grantsLost: total('grantsLost'),
  };
  return [
    `**${ledger.verdict}**: ${run.minutes} minutes, seed ${run.seed}, ${run.startedAt}; ` +
      `${run.faults} faults; customers authorised ${run.reauthorised} connections again; ` +
      `${Math.round(run.seconds)} s with start and end.`,
    table(
      [
        'class',
        'connections',
        'exchanges',
        'answers lost',
        'replays allowed',
        'prescribed',
        'forbidden',
        'families revoked',
        'grants lost',
      ],
      [...classes.map(rowOf), rowOf(all)],
    ),
    table(
      ['fresh reads', 'answers', 'p50', 'p99', 'worst'],
      [latencyRow('calm', reads.calm), latencyRow('while something was broken', reads.chaos)],
    ),
    table(
      ['answer', 'calm', 'while something was broken'],
      [...new Set([...Object.keys(calls.chaos), ...Object.keys(calls.calm)])].map((code) => [
        code,
        calls.calm[code] ?? 0,
        calls.chaos[code] ?? 0,
      ]),
    ),
    `At the end: ${Object.entries(ledger.outcomes)
      .map(([status, count]) => `${count} ${status}`)
      .join(', ')}. Wrong answers: ${ledger.wrongAnswers.length}. ` +
      `Valid tokens refused: ${ledger.refusals.length}.`,
    ledger.losses.length === 0
      ? 'No grant was lost.'
      : table(['grants lost', 'class', 'reason', 'because'], groupLosses(ledger)),
    ...(ledger.reasons.length === 0
      ? []
      : [['Why it failed:', '', ...ledger.reasons.map((reason) => `- ${reason}`)].join('\n')]),
  ].join('\n\n');
}

function groupLosses({ losses }: Ledger): (string | number)[][] {
  const groups = new Map<string, { count: number; cells: string[] }>();
  for (const { class: name, reason, because } of losses) {
    const cells = [name, reason, because ?? '**nothing excuses it**'];
    const group = groups.get(cells.join('|')) ?? { count: 0, cells };
    groups.set(cells.join('|'), { ...group, count: group.count + 1 });
  }
  return [...groups.values()]
    .toSorted((a, b) => b.count - a.count)
    .map(({ count, cells }) => [count, ...cells]);
}

function latencyRow(name: string, summary: LatencySummary): (string | number)[] {
  const ms = (value: number): string => `${Math.round(value)} ms`;
  return [name, summary.reads, ms(summary.p50Ms), ms(summary.p99Ms), ms(summary.worstMs)];
}

function table(head: string[], rows: (string | number)[][]): string {
  const cells = [head, ...rows.map((row) => row.map(String))];
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  const line = (row: string[]): string =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  const [first = [], ...rest] = cells;
  return [line(first), rule, ...rest.map(line)].join('\n');
}
