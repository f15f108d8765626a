import { describe, expect, it } from 'vitest';
import { createStartLine } from '../../platform/start-line.ts';

const waiting = { isAwaited: true, signal: new AbortController().signal };
const background = { ...waiting, isAwaited: false };

/** Starts that a test ends, in the order in which they began. */
function createStarts() {
  const begun: { name: string; end(): void; fail(error: Error): void }[] = [];
  const start = (name: string) => () =>
    new Promise<string>((resolve, reject) => {
      begun.push({ name, end: () => resolve(name), fail: reject });
    });
  return { begun, start, names: () => begun.map(({ name }) => name) };
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

describe('a line of starts', () => {
  it('lets so many begin at once, and the next as one ends', async () => {
    const line = createStartLine(2);
    const { begun, start, names } = createStarts();
    const runs = ['a', 'b', 'c'].map((name) => line.run(start(name), waiting));
    await settle();
    expect(names()).toEqual(['a', 'b']);
    begun[0]?.end();
    await settle();
    expect(names()).toEqual(['a', 'b', 'c']);
    begun[1]?.end();
    begun[2]?.end();
    expect(await Promise.all(runs)).toEqual(['a', 'b', 'c']);
  });

  it('begins what callers wait for first', async () => {
    const line = createStartLine(1);
    const { begun, start, names } = createStarts();
    const orders = { a: waiting, b: background, c: waiting, d: background, e: waiting };
    const runs = Object.entries(orders).map(([name, order]) => line.run(start(name), order));
    for (let at = 0; at < runs.length; at += 1) {
      await settle();
      begun[at]?.end();
    }
    await Promise.all(runs);
    expect(names()).toEqual(['a', 'c', 'e', 'b', 'd']);
  });

  it('ends with a failure after which none succeeded, and goes on after one that others outlived', async () => {
    const line = createStartLine(2);
    const { begun, start, names } = createStarts();
    const ends = ['a', 'b', 'c', 'd'].map((name) =>
      line.run(start(name), waiting).catch((error: unknown) => (error as Error).message),
    );
    await settle();
    begun[0]?.end();
    await settle();
    // c began with the end of a; b began before that, so its failure is its own.
    begun[1]?.fail(new Error('late'));
    await settle();
    expect(names()).toEqual(['a', 'b', 'c', 'd']);
    const queued = line
      .run(start('e'), waiting)
      .catch((error: unknown) => (error as Error).message);
    begun[2]?.fail(new Error('away'));
    begun[3]?.fail(new Error('away'));
    expect(await Promise.all(ends)).toEqual(['a', 'late', 'away', 'away']);
    expect(await queued).toBe('away');
    expect(names()).not.toContain('e');
    const after = line.run(start('f'), waiting);
    await settle();
    begun[4]?.end();
    expect(await after).toBe('f');
  });

  it('passes over who has gone by then', async () => {
    const line = createStartLine(1);
    const { begun, start, names } = createStarts();
    const leaver = new AbortController();
    const first = line.run(start('a'), waiting);
    const left = line.run(start('b'), { isAwaited: true, signal: leaver.signal });
    const last = line.run(start('c'), waiting);
    leaver.abort(new Error('gone'));
    await settle();
    begun[0]?.end();
    await first;
    await expect(left).rejects.toThrow('gone');
    await settle();
    begun[1]?.end();
    expect(await last).toBe('c');
    expect(names()).toEqual(['a', 'c']);
  });
});
