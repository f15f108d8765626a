import { AsyncLocalStorage } from 'node:async_hooks';

/** What becomes of a step: done, never done, or done without the process learning of it. */
export type StepFate = 'done' | 'refused' | 'lost';

/** One turn of one process that waits for the scheduler: a statement, a request, an answer. */
export interface Step {
  label: string;
  process: SimulatedProcess;
  call: Call;
  end(fate: StepFate): Promise<void>;
  abandon(): void;
}

interface Timer {
  dueMs: number;
  /** Null: Temporal's own. A process that is paused does not see its timers. */
  process: SimulatedProcess | null;
  fire(): void;
}

/** A worker process. Dead, everything it awaits ends in `ProcessEnded`, and nothing has an effect. */
export interface SimulatedProcess {
  name: string;
  isAlive: boolean;
  isPaused: boolean;
  /** Once stopped, its answers may come when others have gone on. */
  wasPaused: boolean;
  /** Its way to PostgreSQL is cut. */
  isStoreAway: boolean;
}

/** One piece of work of a process, such as an Activity. */
export interface Call {
  process: SimulatedProcess;
  /** It holds nothing in memory any more. */
  isOver: boolean;
}

class ProcessEnded extends Error {}

const currentWork = new AsyncLocalStorage<{ simulation: Simulation; call: Call }>();

/** In place of `setTimeout` of node:timers/promises, for code that runs in a simulated process. */
export async function simulatedSleep(delayMs: number): Promise<void> {
  const work = currentWork.getStore();
  if (work === undefined) throw new Error('only a simulated process sleeps');
  await work.simulation.sleep(work.call.process, delayMs);
}

/**
 * One machine room in virtual time. Processes run until each awaits something; what happens next, and
 * whether time passes, is the scheduler's choice. Nothing happens by itself.
 */
export class Simulation {
  nowMs = 0;
  readonly #trace: string[] = [];
  readonly processes: SimulatedProcess[] = [];
  #steps: Step[] = [];
  #timers: Timer[] = [];
  readonly #afterEach: () => Promise<void>;

  /** `afterEach` is called after every step and every passing of time, to check what must hold. */
  constructor(afterEach: () => Promise<void>) {
    this.#afterEach = afterEach;
  }

  addProcess(name: string): SimulatedProcess {
    const process = {
      name,
      isAlive: true,
      isPaused: false,
      wasPaused: false,
      isStoreAway: false,
    };
    this.processes.push(process);
    return process;
  }

  /** Runs what a process does of its own, such as an Activity or a timer. */
  run<Result>(call: Call, work: () => Promise<Result>): Promise<Result> {
    return currentWork.run({ simulation: this, call }, work);
  }

  /** Whose turn it is. */
  currentCall(): Call {
    const work = currentWork.getStore();
    if (work === undefined) throw new Error('nobody has the turn');
    return work.call;
  }

  /** The process awaits `work`, which the scheduler lets happen; `faults` say how else it may end. */
  suspend<Result>(
    call: Call,
    label: string,
    work: () => Result | Promise<Result>,
    faults: { refused: () => Result; lost: () => Result },
  ): Promise<Result> {
    const { process } = call;
    if (!process.isAlive) return Promise.reject(new ProcessEnded());
    return new Promise((resolve, reject) => {
      const step: Step = {
        label,
        process,
        call,
        abandon: () => reject(new ProcessEnded()),
        end: async (fate) => {
          this.#remove(step);
          try {
            // Work may end after its process, as a statement does whose client has gone.
            const result =
              fate === 'refused' ? undefined : await this.run(call, async () => work());
            if (!process.isAlive) throw new ProcessEnded();
            if (fate === 'done') resolve(result as Result);
            else resolve(faults[fate]());
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        },
      };
      this.#steps.push(step);
    });
  }

  /** Withdraws what a call awaited, such as an answer whose deadline has passed. */
  withdraw(call: Call, label: string): void {
    const step = this.#steps.find((other) => other.call === call && other.label === label);
    if (step !== undefined) this.#remove(step);
  }

  sleep(process: SimulatedProcess | null, delayMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (process?.isAlive === false) reject(new ProcessEnded());
      else this.after(process, delayMs, resolve);
    });
  }

  /** Calls back in virtual time; returns how to call that off. */
  after(process: SimulatedProcess | null, delayMs: number, fire: () => void): () => void {
    const timer = { dueMs: this.nowMs + delayMs, process, fire };
    if (process?.isAlive !== false) this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  runnableSteps(): Step[] {
    return this.#steps.filter(({ process }) => !process.isPaused);
  }

  /** Only a paused process is slow, and a provider: everybody else has gone as far as it can. */
  mayTimePass(): boolean {
    return this.runnableSteps().every(({ label }) => label === 'answer');
  }

  isIdle(): boolean {
    return this.runnableSteps().length === 0 && this.#nextTimer() === undefined;
  }

  async perform(step: Step, fate: StepFate = 'done'): Promise<void> {
    this.note(`${step.label} of ${step.process.name}${fate === 'done' ? '' : ` is ${fate}`}`);
    await step.end(fate);
    await this.settle();
  }

  /** Jumps to the next timer, or by a while where nobody waits for one. */
  async passTime(idleMs = 1_000): Promise<void> {
    const timer = this.#nextTimer();
    const toMs = timer === undefined ? this.nowMs + idleMs : Math.max(timer.dueMs, this.nowMs);
    if (toMs > this.nowMs) this.note(`${toMs - this.nowMs} ms pass`);
    this.nowMs = toMs;
    if (timer !== undefined) {
      this.#timers = this.#timers.filter((other) => other !== timer);
      timer.fire();
    }
    await this.settle();
  }

  /** With `during` that step still happens, but its process does not see the end of it. */
  async kill(process: SimulatedProcess, during?: Step): Promise<void> {
    this.note(`${process.name} is killed${during === undefined ? '' : ` after ${during.label}`}`);
    const ending = during?.end('done');
    process.isAlive = false;
    const abandoned = this.#steps.filter((step) => step.process === process);
    this.#steps = this.#steps.filter((step) => step.process !== process);
    this.#timers = this.#timers.filter((timer) => timer.process !== process);
    for (const step of abandoned) step.abandon();
    await ending;
  }

  note(event: string): void {
    this.#trace.push(event);
  }

  /** Everything that happened, an event a line; what repeats, such as polling, is told once. */
  story(): string {
    const told: string[] = [];
    for (const event of this.#trace) {
      told.push(event);
      const period = [1, 2, 3, 4].find((length) => {
        const last = told.slice(-length);
        return (
          told.length >= 2 * length && last.every((line, at) => line === told.at(at - 2 * length))
        );
      });
      if (period !== undefined) told.splice(-period);
    }
    return told.map((event) => `\n  ${event}`).join('');
  }

  /** Lets every process run on until it awaits the scheduler again: in between are only microtasks. */
  async settle(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    await this.#afterEach();
  }

  #nextTimer(): Timer | undefined {
    return this.#timers
      .filter(({ process }) => process?.isPaused !== true)
      .reduce<Timer | undefined>(
        (first, timer) => (first !== undefined && first.dueMs <= timer.dueMs ? first : timer),
        undefined,
      );
  }

  #remove(step: Step): void {
    this.#steps = this.#steps.filter((other) => other !== step);
  }
}
