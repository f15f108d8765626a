import type { BenchStack } from './bench-stack.ts';
import type { Summary } from './statistics.ts';

/** How much is done: all of it, or enough to see that nothing has become much slower. */
export interface Extent {
  rounds: number;
  /** Of one measurement of throughput. */
  seconds: number;
  /** Of connections, where it is seen how cost grows. */
  largest: number;
  isQuick: boolean;
}

/** What a figure is to come to. */
export type Bar = { atLeast: number } | { atMost: number } | { equals: number };

/** A number with a bar, or one that is told beside them. */
export interface Figure {
  name: string;
  /** Of the rounds. */
  summary: Summary;
  bar?: Bar;
  /** What even a busy machine keeps, unless something has become much slower: for CI. */
  guard?: Bar;
}

/** A row of the table for people. */
export interface Measurement {
  what: string;
  unit: string;
  summary: Summary;
}

export interface Findings {
  figures: Figure[];
  measurements: Measurement[];
}

export interface ScenarioContext {
  stack: BenchStack;
  extent: Extent;
  /** Where flame graphs go; undefined: none are wanted. */
  flames: string | undefined;
  /** The newest of these is the progress line. */
  tell: (line: string) => void;
}

/** One question, asked of us and of a limit or peer in interleaved rounds. */
export interface Scenario {
  /** The names of its figures, by which it is chosen. */
  figures: readonly string[];
  /** What it starts and fills before the clock runs. Returns the measurement. */
  prepare(context: ScenarioContext): Promise<() => Promise<Findings>>;
}
