import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import {
  ActivityFailure,
  ApplicationFailure,
  RetryState,
  TimeoutFailure,
  TimeoutType,
} from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import type { Activities } from '../../activities/index.ts';
import type { RefreshStep, SealedExchange } from '../../activities/refresh-step.ts';
import { refreshWorkflowId, type RefreshConnectionInput } from '../../client/contract.ts';
import type { Call, SimulatedProcess, Simulation } from './simulation.ts';

/** A worker process that holds Activities. */
export interface SimulatedWorker extends SimulatedProcess {
  activities: Activities;
}

interface SimulatedRun {
  id: string;
  isOpen: boolean;
  /** What its history keeps of its Activities' results. */
  sealed: SealedExchange[];
  /** It carries the end of an attempt that the store could not take. */
  isUnsettled: boolean;
  call(name: string, input: unknown, options: CallOptions): Promise<unknown>;
  sleep(delayMs: number): Promise<void>;
}

interface CallOptions {
  startToCloseTimeout: string;
  heartbeatTimeout?: string;
  retry: {
    maximumAttempts?: number;
    initialInterval?: string;
    backoffCoefficient?: number;
    maximumInterval?: string;
  };
}

const quiet = new DefaultLogger('ERROR');
const currentRun = new AsyncLocalStorage<SimulatedRun>();

function ownRun(): SimulatedRun {
  const run = currentRun.getStore();
  if (run === undefined) throw new Error('only a Workflow asks Temporal for something');
  return run;
}

/** In place of @temporalio/workflow, so that the Workflow itself runs in the simulation. */
export const simulatedWorkflowApi = {
  proxyActivities: (options: CallOptions) =>
    new Proxy(
      {},
      { get: (_, name: string) => (input: unknown) => ownRun().call(name, input, options) },
    ),
  sleep: (delayMs: number) => ownRun().sleep(delayMs),
  workflowInfo: () => ({ runId: ownRun().id }),
  upsertSearchAttributes: () => undefined,
  // Nothing is cancelled in the model; refresh-connection.stack.test.ts cancels the real one.
  CancellationScope: { nonCancellable: <Result>(work: () => Promise<Result>) => work() },
};

type CallEnd =
  { kind: 'completed'; result: unknown } | { kind: 'failed'; error: unknown } | { kind: 'timeout' };

/** One Workflow ID of Temporal: at most one open run, Activities with their timeouts and retries. */
export class SimulatedTemporal {
  readonly runs: SimulatedRun[] = [];
  /** Runs that ended in a failure: each is a fault of ours. */
  readonly failures: unknown[] = [];
  /** The end of an attempt that nobody could store was lost with its run. */
  hasLostSettlement = false;
  readonly #simulation: Simulation;
  readonly #pickWorker: () => SimulatedWorker;

  constructor(simulation: Simulation, pickWorker: () => SimulatedWorker) {
    this.#simulation = simulation;
    this.#pickWorker = pickWorker;
  }

  openRun(): SimulatedRun | undefined {
    return this.runs.find((run) => run.isOpen);
  }

  /** Starts a run; the caller sees to it that none is open. */
  start(
    workflow: (input: RefreshConnectionInput) => Promise<unknown>,
    input: RefreshConnectionInput,
  ): void {
    const run: SimulatedRun = {
      id: randomUUID(),
      isOpen: true,
      sealed: [],
      isUnsettled: false,
      call: (name, args, options) =>
        this.#callUntilDone(run, name as keyof Activities, args, options),
      sleep: (delayMs) => this.#simulation.sleep(null, delayMs),
    };
    this.runs.push(run);
    this.#simulation.note(`run ${this.runs.length} starts`);
    const ended = currentRun.run(run, () => workflow(input));
    ended
      .catch((error: unknown) => {
        if (run.isOpen) this.failures.push(error);
      })
      .finally(() => {
        run.isOpen = false;
      });
  }

  /** Ends the open run at once; its Activities go on, and nobody hears of their results. */
  terminate(): void {
    const run = this.openRun();
    if (run === undefined) return;
    this.#simulation.note(`run ${this.runs.indexOf(run) + 1} is terminated`);
    run.isOpen = false;
    if (run.isUnsettled) this.hasLostSettlement = true;
  }

  async #callUntilDone(
    run: SimulatedRun,
    name: keyof Activities,
    input: unknown,
    options: CallOptions,
  ): Promise<unknown> {
    const { retry } = options;
    let delayMs = toMs(retry.initialInterval ?? '1s');
    const delayMaxMs = toMs(retry.maximumInterval ?? '100s');
    for (;;) {
      const end = await this.#callOnce(run, name, input, options);
      // A terminated run never learns anything again.
      if (!run.isOpen) return new Promise(() => undefined);
      if (end.kind === 'completed') return end.result;
      const isFinal = end.kind === 'failed' && isNonRetryable(end.error);
      if (isFinal || retry.maximumAttempts === 1) throw activityFailure(name, end);
      await this.#simulation.sleep(null, delayMs);
      delayMs = Math.min(delayMs * (retry.backoffCoefficient ?? 2), delayMaxMs);
    }
  }

  /** A history takes a result only while its run waits for it. */
  #record(run: SimulatedRun, result: unknown, isAwaited: boolean): void {
    const step = result as Partial<RefreshStep> | null;
    const isUnsettled = step?.next === 'again' && step.unsettled != null;
    if (!isAwaited) {
      if (isUnsettled) this.hasLostSettlement = true;
      return;
    }
    run.isUnsettled = isUnsettled;
    if (step?.next === 'store' && step.sealed !== undefined) run.sealed.push(step.sealed);
  }

  #callOnce(
    run: SimulatedRun,
    name: keyof Activities,
    input: unknown,
    options: CallOptions,
  ): Promise<CallEnd> {
    const worker = this.#pickWorker();
    const call: Call = { process: worker, isOver: false };
    const environment = new MockActivityEnvironment(
      { workflowExecution: { workflowId: refreshWorkflowId('model'), runId: run.id } },
      { logger: quiet },
    );
    return new Promise((resolve) => {
      const cancelTimers: (() => void)[] = [];
      let isOver = false;
      const end = (how: CallEnd) => {
        if (isOver) return;
        isOver = true;
        for (const cancel of cancelTimers) cancel();
        resolve(how);
      };
      const limit = (timeout: string, onTime: () => void) =>
        cancelTimers.push(
          this.#simulation.after(null, toMs(timeout), () => {
            if (!isOver) onTime();
          }),
        );
      limit(options.startToCloseTimeout, () => end({ kind: 'timeout' }));
      const { heartbeatTimeout } = options;
      if (heartbeatTimeout !== undefined) {
        // A process that runs beats every second; one that is stopped or dead is missed after a while.
        const watch = (wasSilent: boolean) =>
          limit(heartbeatTimeout, () => {
            const isSilent = !worker.isAlive || worker.isPaused;
            if (!run.isOpen || (wasSilent && isSilent)) end({ kind: 'timeout' });
            else watch(isSilent);
          });
        watch(false);
      }
      const deliver = (how: CallEnd): Promise<void> =>
        this.#simulation.suspend(
          call,
          'deliver',
          () => {
            if (how.kind === 'completed') this.#record(run, how.result, !isOver && run.isOpen);
            end(how);
          },
          { refused: () => undefined, lost: () => undefined },
        );
      const activity = (given: unknown) => worker.activities[name](given as never);
      this.#simulation
        .run(call, () => environment.run(activity, input))
        .then(
          (result) => deliver({ kind: 'completed', result }),
          (error: unknown) => deliver({ kind: 'failed', error }),
        )
        // The process died; Temporal learns of that by its silence.
        .catch(() => undefined)
        .finally(() => {
          call.isOver = true;
        });
    });
  }
}

/** Durations as the Workflow writes them: `500ms`, `20s`. */
function toMs(duration: string): number {
  const [, count, unit] = /^(\d+)(ms|s)$/.exec(duration) ?? [];
  if (count === undefined) throw new Error(`not a duration: ${duration}`);
  return Number(count) * (unit === 's' ? 1_000 : 1);
}

function isNonRetryable(error: unknown): boolean {
  return error instanceof ApplicationFailure && error.nonRetryable === true;
}

function activityFailure(name: string, end: Exclude<CallEnd, { kind: 'completed' }>): Error {
  const cause =
    end.kind === 'timeout'
      ? new TimeoutFailure('lost', undefined, TimeoutType.HEARTBEAT)
      : (end.error as Error);
  return new ActivityFailure(
    'the Activity failed',
    name,
    undefined,
    RetryState.MAXIMUM_ATTEMPTS_REACHED,
    undefined,
    cause,
  );
}
