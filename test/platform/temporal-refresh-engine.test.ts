import type { Client } from '@temporalio/client';
import { describe, expect, it } from 'vitest';
import type { RefreshResult } from '../../client/contract.ts';
import { createIdTracer } from '../../platform/tracer.ts';
import { createTemporalRefreshEngine } from '../../platform/temporal-refresh-engine.ts';

const runId = 'run-1';
const result: RefreshResult = {
  connectionId: 'c1',
  outcome: 'refreshed',
  tokenVersion: 2,
  expiresAt: null,
};
const never = new Promise<never>(() => undefined);

interface RunScript {
  /** Of the polls for the result, in order. */
  polls: Promise<RefreshResult>[];
  /** What looking at the run shows, in order; the last one stays. */
  looks?: ({ status: { name: string }; runId: string } | Error)[];
}

/** No server can be made to forget a poll, so the client is the one thing here that is not real. */
function engineOver({ polls, looks = [] }: RunScript) {
  const counts = { polls: 0, looks: 0 };
  const handle = {
    firstExecutionRunId: runId,
    result() {
      counts.polls += 1;
      return polls[counts.polls - 1] ?? never;
    },
    describe() {
      const look = looks[Math.min(counts.looks, looks.length - 1)];
      counts.looks += 1;
      return look instanceof Error ? Promise.reject(look) : Promise.resolve(look);
    },
  };
  const client = {
    workflow: { start: () => Promise.resolve(handle) },
    withDeadline: (_deadline: number, work: () => unknown) => work(),
    withAbortSignal: (_signal: AbortSignal, work: () => unknown) => work(),
  };
  const engine = createTemporalRefreshEngine({
    client: () => client as unknown as Client,
    taskQueue: 'queue',
    workflowExecutionTimeoutMs: 1_000,
    requestEagerStart: false,
    tracer: createIdTracer(),
    withHeaders: ({ workflow }) => workflow,
    lookFirstMs: 500,
  });
  const refresh = (signal = new AbortController().signal) =>
    engine.refresh(
      {
        connectionId: 'c1',
        tenantId: 't1',
        provider: 'generic',
        newerThan: 1,
        trigger: 'read',
        requestedAt: new Date(0),
        traceparent: '',
      },
      signal,
    );
  return { counts, refresh };
}

const running = { status: { name: 'RUNNING' }, runId };
const completed = { status: { name: 'COMPLETED' }, runId };

describe('waiting for a run', () => {
  it('asks once where the answer comes soon, and does not look', async () => {
    const { counts, refresh } = engineOver({ polls: [Promise.resolve(result)] });
    expect(await refresh()).toEqual(result);
    expect(counts).toEqual({ polls: 1, looks: 0 });
  });

  it('asks again when the run is seen closed and the poll was not woken', async () => {
    const { counts, refresh } = engineOver({
      polls: [never, Promise.resolve(result)],
      looks: [running, new Error('away'), completed],
    });
    expect(await refresh()).toEqual(result);
    expect(counts).toEqual({ polls: 2, looks: 3 });
  });

  it('a newer run that is open says that its own is closed', async () => {
    const { refresh } = engineOver({
      polls: [never, Promise.resolve(result)],
      looks: [{ ...running, runId: 'run-2' }],
    });
    expect(await refresh()).toEqual(result);
  });

  it('ends with its signal, and looks no more', async () => {
    const { counts, refresh } = engineOver({ polls: [], looks: [running] });
    const abort = new AbortController();
    const waiting = refresh(abort.signal);
    setTimeout(() => abort.abort(new Error('enough')), 700);
    await expect(waiting).rejects.toThrow('enough');
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(counts).toEqual({ polls: 1, looks: 1 });
  });
});
