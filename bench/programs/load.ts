import autocannon from 'autocannon';
import { Agent, request as requestHttp } from 'node:http';
import { Agent as TlsAgent, request as requestHttps } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { serveCalls } from '../child-calls.ts';

/*
 * The callers, in a process of their own.
 */

export interface Target {
  origin: string;
  headers: Record<string, string>;
  /** PEM of a client certificate. */
  tls?: { cert: string; key: string };
}

export interface Saturation {
  requestsPerSecond: number;
  failed: number;
}

export interface Calls {
  /** From the first request to the last answer. */
  elapsedMs: number;
  /** Of each call, in the order of the answers. */
  latenciesMs: number[];
  failed: number;
  /** The first answer that was no 200. */
  failure: string | null;
}

export interface Load {
  /**
   * As many requests as the target answers, over kept connections; each takes the paths in turn, and begins
   * at another one: in step they would all ask for the same at once.
   */
  saturate(options: {
    target: Target;
    paths: string[];
    connections: number;
    /** How long, or else how many requests. */
    seconds?: number;
    amount?: number;
    /** Each connection gets a part of the paths for itself instead of all. */
    split?: boolean;
  }): Promise<Saturation>;
  /** So many callers, each of whom takes the next path as soon as it has its answer, until all are taken. */
  takeEach(options: { target: Target; paths: string[]; callers: number }): Promise<Calls>;
  /** Opens so many connections, on which the next `rush` goes out. */
  open(options: { target: Target; connections: number }): Promise<void>;
  /**
   * All at once, each over a connection of its own that is open already. With `again` a caller who is told to come
   * again does, a second later, for a minute.
   */
  rush(options: { target: Target; paths: string[]; again?: boolean }): Promise<Calls>;
  /**
   * A request every so often, whether or not those before are answered. Latencies count from when a
   * request was due, so that one that waits for its turn is not overlooked.
   */
  holdRate(options: {
    target: Target;
    paths: string[];
    perSecond: number;
    seconds: number;
  }): Promise<Calls>;
  /** Size of the body of an answer. */
  bodyBytes(options: { target: Target; path: string }): Promise<number>;
  /** Ends a `holdRate` before its time. */
  release(): Promise<void>;
}

const unavailable = 503;
const pauseMs = 1_000;
const triesMax = 60;
/** As a client with a pool has: a request that finds all of them busy waits, and its wait counts. */
const rateSocketsMax = 64;

let release = (): void => undefined;
let opened: Agent | undefined;

const methods: Load = {
  async saturate({ target, paths, connections, seconds, amount, split = false }) {
    const requests = paths.map((path) => ({ path }));
    let begun = 0;
    const share = Math.floor(requests.length / connections);
    const result = await autocannon({
      url: target.origin,
      headers: target.headers,
      connections,
      ...(amount === undefined ? { duration: seconds ?? 1 } : { amount }),
      ...(target.tls !== undefined && { tlsOptions: target.tls }),
      setupClient(client) {
        const from = begun * share;
        begun += 1;
        const own = requests.slice(from, from + share);
        const others = split ? [] : [...requests.slice(from + share), ...requests.slice(0, from)];
        client.setRequests([...own, ...others]);
      },
    });
    return {
      requestsPerSecond: result['2xx'] / result.duration,
      failed: result.non2xx + result.errors,
    };
  },

  async takeEach({ target, paths, callers }) {
    const agent = new Agent({ keepAlive: true, maxSockets: callers });
    const calls = beginCalls();
    let next = 0;
    const caller = async () => {
      for (let path = paths[next]; path !== undefined; path = paths[next]) {
        next += 1;
        await calls.make(agent, target, path, performance.now());
      }
    };
    await Promise.all(Array.from({ length: callers }, caller));
    agent.destroy();
    return calls.end();
  },

  async open({ target, connections }) {
    opened?.destroy();
    const agent = new Agent({ keepAlive: true });
    const pings = beginCalls();
    const each = Array.from({ length: connections }, () => pings.make(agent, target, '/ping', 0));
    await Promise.all(each);
    opened = agent;
  },

  async rush({ target, paths, again = false }) {
    if (opened === undefined) await methods.open({ target, connections: paths.length });
    const agent = opened ?? new Agent();
    opened = undefined;
    const calls = beginCalls(again ? triesMax : 1);
    await Promise.all(paths.map((path) => calls.make(agent, target, path, performance.now())));
    agent.destroy();
    return calls.end();
  },

  async holdRate({ target, paths, perSecond, seconds }) {
    const run = { isReleased: false };
    release = () => {
      run.isReleased = true;
    };
    const agent = new Agent({ keepAlive: true, maxSockets: rateSocketsMax });
    const calls = beginCalls();
    const open: Promise<void>[] = [];
    const beginsAtMs = performance.now();
    const count = Math.round(perSecond * seconds);
    for (let number = 0; number < count && !run.isReleased; number += 1) {
      const dueAtMs = beginsAtMs + (1_000 * number) / perSecond;
      const restMs = dueAtMs - performance.now();
      if (restMs > 0) await sleep(restMs);
      open.push(calls.make(agent, target, paths[number % paths.length] ?? '/', dueAtMs));
    }
    await Promise.all(open);
    agent.destroy();
    return calls.end();
  },

  async bodyBytes({ target, path }) {
    const agent = target.tls === undefined ? new Agent() : new TlsAgent();
    const answer = await get(agent, target, path);
    if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body}`);
    return Buffer.byteLength(answer.body);
  },

  release() {
    release();
    return Promise.resolve();
  },
};

function beginCalls(tries = 1) {
  const beganAtMs = performance.now();
  const latenciesMs: number[] = [];
  let failed = 0;
  let failure: string | null = null;
  return {
    async make(agent: Agent, target: Target, path: string, dueAtMs: number): Promise<void> {
      let answer = await get(agent, target, path);
      for (let tried = 1; tried < tries && answer.status === unavailable; tried += 1) {
        await sleep(pauseMs);
        answer = await get(agent, target, path);
      }
      const { status, body } = answer;
      latenciesMs.push(performance.now() - dueAtMs);
      if (status === 200) return;
      failed += 1;
      failure ??= `${status} ${body}`;
    },
    end: (): Calls => ({ elapsedMs: performance.now() - beganAtMs, latenciesMs, failed, failure }),
  };
}

/** Status 0: there was no answer, and the body says why. */
function get(
  agent: Agent | TlsAgent,
  { origin, headers, tls }: Target,
  path: string,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve) => {
    const request = tls === undefined ? requestHttp : requestHttps;
    const options = { agent, headers, ...tls, rejectUnauthorized: false };
    const sent = request(`${origin}${path}`, options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() });
      });
      response.on('error', (error) => resolve({ status: 0, body: String(error) }));
    });
    sent.on('error', (error) => resolve({ status: 0, body: String(error) }));
    sent.end();
  });
}

serveCalls({ ...methods });
