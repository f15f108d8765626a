import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from 'undici';
import type { EnduranceConnection } from './connection-mix.ts';
import type { SeededRandom } from './seeded-random.ts';
import type { ServiceSlot } from './service-slot.ts';
import { tokenName } from './witness-journal.ts';

const callersCount = 16;
const inFlightMax = 400;
const waitSeconds = 8;
const callTimeoutMs = (waitSeconds + 6) * 1_000;
const retryPauseMs = 150;
const triesMax = 3;

/** `plain` demands nothing; `known` a version not older than the newest that this caller has seen. */
export type CallKind = 'plain' | 'known' | 'min_ttl' | 'force' | 'rejected';
const kindShares: [CallKind, number][] = [
  ['plain', 0.72],
  ['known', 0.14],
  ['min_ttl', 0.08],
  ['force', 0.02],
  ['rejected', 0.04],
];

/** One HTTP request of a caller and what came of it. */
export interface CallRecord {
  connectionId: string;
  caller: number;
  kind: CallKind;
  /** The process that was asked, such as `gateway-1.2`. */
  gateway: string;
  startedAtMs: number;
  endedAtMs: number;
  /** 0: no answer. */
  status: number;
  /** The problem's code, or of a failed connection; null for a token. */
  code: string | null;
  token: { name: string; version: number; refreshed: boolean; expiresAtMs: number } | null;
  /** The version must not be below: what the same caller had from the same process, or demanded. */
  versionMin: number;
}

interface Knowledge {
  newest: number;
  byGateway: Map<string, number>;
}

interface TokenBody {
  access_token?: string;
  token_version?: number;
  refreshed?: boolean;
  expires_at?: string;
  code?: string;
}

export interface Callers {
  calls: readonly CallRecord[];
  /** One call more, outside the usual rate. Retries at the other gateway as callers do. */
  call(connection: EnduranceConnection, kind: CallKind): Promise<CallRecord>;
  /** Resolves when the last of them is back. */
  stop(): Promise<void>;
}

/**
 * Callers who know both gateways: each call goes to one of them, and to the other if there is no
 * answer. Calls begin at a rate of their own, however slowly others end.
 */
export function startCallers(options: {
  gateways: readonly ServiceSlot[];
  connections: readonly EnduranceConnection[];
  callsPerSecond: number;
  random: SeededRandom;
  nowMs: () => number;
}): Callers {
  const { gateways, connections, random, nowMs } = options;
  const agent = new Agent({ connections: inFlightMax, keepAliveTimeout: 4_000 });
  const knowledge = new Map<string, Knowledge>();
  const calls: CallRecord[] = [];
  const inFlight = new Set<Promise<unknown>>();
  let stopped = false;

  function knows(caller: number, connectionId: string): Knowledge {
    const key = `${caller} ${connectionId}`;
    const known = knowledge.get(key) ?? { newest: 0, byGateway: new Map<string, number>() };
    knowledge.set(key, known);
    return known;
  }

  async function ask(
    gateway: ServiceSlot,
    { id }: EnduranceConnection,
    kind: CallKind,
    caller: number,
  ): Promise<CallRecord> {
    const known = knows(caller, id);
    const life = gateway.current().name;
    const startedAtMs = nowMs();
    const record: CallRecord = {
      connectionId: id,
      caller,
      kind,
      gateway: life,
      startedAtMs,
      endedAtMs: 0,
      status: 0,
      code: null,
      token: null,
      versionMin: Math.max(
        known.byGateway.get(life) ?? 0,
        kind === 'known' ? known.newest : 0,
        kind === 'rejected' && known.newest > 0 ? known.newest + 1 : 0,
      ),
    };
    try {
      const { path, method, body } = requestOf(id, kind, known.newest);
      const answer = await request(`${gateway.origin}${path}`, {
        dispatcher: agent,
        method,
        ...(body !== null && {
          body: JSON.stringify(body),
          headers: { 'content-type': 'application/json' },
        }),
        signal: AbortSignal.timeout(callTimeoutMs),
      });
      const text = await answer.body.text();
      // A process that starts up under a caller answers under its own name.
      record.gateway = gateway.current().name;
      record.status = answer.statusCode;
      readAnswer(record, JSON.parse(text) as TokenBody);
    } catch (error) {
      record.status = 0;
      record.code = connectionCode(error);
    }
    record.endedAtMs = nowMs();
    if (record.gateway !== life) record.versionMin = kind === 'known' ? record.versionMin : 0;
    if (record.token !== null) {
      const { version } = record.token;
      known.newest = Math.max(known.newest, version);
      known.byGateway.set(
        record.gateway,
        Math.max(known.byGateway.get(record.gateway) ?? 0, version),
      );
    }
    calls.push(record);
    return record;
  }

  async function call(
    connection: EnduranceConnection,
    kind: CallKind,
    caller = Math.floor(random.next() * callersCount),
  ): Promise<CallRecord> {
    let index = Math.floor(random.next() * gateways.length);
    for (let tries = 1; ; tries += 1) {
      const gateway = gateways[index % gateways.length];
      if (gateway === undefined) throw new Error('there is no gateway');
      const record = await ask(gateway, connection, kind, caller);
      if (record.status !== 0 || tries === triesMax) return record;
      index += 1;
      await sleep(retryPauseMs);
    }
  }

  function drawKind(): CallKind {
    let left = random.next();
    for (const [kind, share] of kindShares) {
      left -= share;
      if (left < 0) return kind;
    }
    return 'plain';
  }

  const timer = setInterval(() => {
    if (stopped || inFlight.size >= inFlightMax) return;
    const calling = call(random.pick(connections), drawKind());
    inFlight.add(calling);
    void calling.finally(() => inFlight.delete(calling));
  }, 1_000 / options.callsPerSecond);

  return {
    calls,
    call,
    async stop() {
      stopped = true;
      clearInterval(timer);
      await Promise.allSettled(inFlight);
      await agent.close();
    },
  };
}

function requestOf(
  id: string,
  kind: CallKind,
  newest: number,
): { path: string; method: 'GET' | 'POST'; body: object | null } {
  const path = `/v1/connections/${id}/token`;
  const wait = `wait_seconds=${waitSeconds}`;
  const get = (query: string) => ({ path: `${path}?${query}`, method: 'GET', body: null }) as const;
  const post = (body: object) =>
    ({
      path: `${path}/refresh`,
      method: 'POST',
      body: { ...body, wait_seconds: waitSeconds },
    }) as const;
  switch (kind) {
    case 'plain':
      return get(wait);
    case 'known':
      return get(newest === 0 ? wait : `${wait}&min_token_version=${newest}`);
    case 'min_ttl':
      return get(`${wait}&min_ttl_seconds=5`);
    case 'force':
      return post({ force: true });
    case 'rejected':
      return post(newest === 0 ? {} : { rejected_token_version: newest });
  }
}

function readAnswer(record: CallRecord, body: TokenBody): void {
  if (record.status !== 200) {
    record.code = body.code ?? `http_${record.status}`;
    return;
  }
  record.token = {
    name: tokenName(body.access_token ?? ''),
    version: body.token_version ?? -1,
    refreshed: body.refreshed === true,
    expiresAtMs: Date.parse(body.expires_at ?? ''),
  };
}

function connectionCode(error: unknown): string {
  if (error instanceof Error && error.name === 'TimeoutError') return 'timeout';
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : 'connection';
}
