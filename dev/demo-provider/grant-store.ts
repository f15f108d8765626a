import type { AdapterPayload } from 'oidc-provider';

import {
  noJournal,
  openJournal,
  readJournal,
  type ExchangeCounts,
  type GrantJournal,
  type JournalEntry,
  type RevocationCause,
} from './grant-journal.ts';

const refreshTokenModel = 'RefreshToken';
const purgeEveryPuts = 1_000;

export interface DemoProviderStats {
  total: ExchangeCounts;
  connections: Record<string, ExchangeCounts>;
}

/** What the demo provider remembers. Everything but `flush` is synchronous, so nothing interleaves. */
export interface GrantStore {
  addGrant(grantId: string, connectionId: string): void;
  put(model: string, id: string, payload: AdapterPayload, ttlSeconds: number | undefined): void;
  find(model: string, id: string): AdapterPayload | undefined;
  findWhere(
    model: string,
    matches: (payload: AdapterPayload) => boolean,
  ): AdapterPayload | undefined;
  drop(model: string, id: string): void;
  /** Compare and set: true for exactly one call a refresh token. Counts the exchange. */
  consume(refreshToken: string): boolean;
  /** Ends the family: deletes whatever belongs to the grant and refuses whatever comes for it. */
  revoke(grantId: string, cause: RevocationCause): void;
  /** The grant of a refresh token that was consumed, also long after its family has ended. */
  grantOfSpent(refreshToken: string): string | undefined;
  countReuse(grantId: string): void;
  stats(): DemoProviderStats;
  /** Resolves when everything so far would survive the machine. */
  flush(): Promise<void>;
  close(): void;
}

interface Stored {
  model: string;
  id: string;
  payload: AdapterPayload;
  expiresAtMs: number | null;
}

/** Keeps all of it in `journalFile`, or in memory only. Throws SetupError on a damaged file. */
export function createGrantStore(options: {
  nowMs: () => number;
  journalFile?: string;
}): GrantStore {
  const { nowMs, journalFile } = options;
  const stored = new Map<string, Stored>();
  const spent = new Map<string, { grantId: string; expiresAtMs: number | null }>();
  const connectionOfGrant = new Map<string, string>();
  const revoked = new Set<string>();
  const counts = new Map<string, ExchangeCounts>();
  let journal: GrantJournal = noJournal;
  let putsSincePurge = 0;

  const keyOf = (model: string, id: string): string => `${model}:${id}`;
  const isExpired = (item: { expiresAtMs: number | null }): boolean =>
    item.expiresAtMs !== null && item.expiresAtMs <= nowMs();

  function count(grantId: string, what: keyof ExchangeCounts): void {
    const connectionId = connectionOfGrant.get(grantId);
    if (connectionId === undefined) return;
    const mine = counts.get(connectionId) ?? emptyCounts();
    mine[what] += 1;
    counts.set(connectionId, mine);
  }

  function deleteFamily(grantId: string): void {
    for (const [key, { model, id, payload }] of stored) {
      const isGrant = model === 'Grant' && id === grantId;
      if (isGrant || payload.grantId === grantId) stored.delete(key);
    }
  }

  /** The only place that changes anything: at start for what the journal tells, then for each call. */
  function apply(entry: JournalEntry): void {
    switch (entry.op) {
      case 'grant':
        connectionOfGrant.set(entry.grantId, entry.connectionId);
        if (!counts.has(entry.connectionId)) counts.set(entry.connectionId, emptyCounts());
        return;
      case 'put':
        stored.set(keyOf(entry.model, entry.id), entry);
        return;
      case 'drop':
        stored.delete(keyOf(entry.model, entry.id));
        return;
      case 'consume': {
        const token = stored.get(keyOf(refreshTokenModel, entry.id));
        const grantId = token?.payload.grantId;
        if (token === undefined || grantId === undefined) return;
        token.payload = { ...token.payload, consumed: Math.floor(entry.atMs / 1_000) };
        spent.set(entry.id, { grantId, expiresAtMs: token.expiresAtMs });
        count(grantId, 'exchanges');
        return;
      }
      case 'spent':
        spent.set(entry.id, { grantId: entry.grantId, expiresAtMs: entry.expiresAtMs });
        return;
      case 'revoke':
        deleteFamily(entry.grantId);
        revoked.add(entry.grantId);
        if (entry.cause === 'reuse') count(entry.grantId, 'family_revocations');
        return;
      case 'revoked':
        revoked.add(entry.grantId);
        return;
      case 'reuse':
        count(entry.grantId, 'reuse');
        return;
      case 'counts':
        counts.set(entry.connectionId, entry.counts);
        return;
    }
  }

  function record(entry: JournalEntry): void {
    apply(entry);
    journal.append(entry);
  }

  function purgeExpired(): void {
    for (const [key, item] of stored) if (isExpired(item)) stored.delete(key);
    for (const [token, item] of spent) if (isExpired(item)) spent.delete(token);
  }

  /** The present state as the fewest entries that lead to it. */
  function snapshot(): JournalEntry[] {
    return [
      ...entries(connectionOfGrant, (grantId, connectionId) => ({
        op: 'grant' as const,
        grantId,
        connectionId,
      })),
      ...[...revoked].map((grantId) => ({ op: 'revoked' as const, grantId })),
      ...entries(counts, (connectionId, mine) => ({
        op: 'counts' as const,
        connectionId,
        counts: mine,
      })),
      ...entries(spent, (id, item) => ({ op: 'spent' as const, id, ...item })),
      ...[...stored.values()].map(({ model, id, payload, expiresAtMs }) => ({
        op: 'put' as const,
        model,
        id,
        payload,
        expiresAtMs,
      })),
    ];
  }

  if (journalFile !== undefined) {
    readJournal(journalFile).forEach(apply);
    purgeExpired();
    journal = openJournal(journalFile, snapshot());
  }

  function find(model: string, id: string): AdapterPayload | undefined {
    const item = stored.get(keyOf(model, id));
    return item === undefined || isExpired(item) ? undefined : item.payload;
  }

  return {
    addGrant: (grantId, connectionId) => record({ op: 'grant', grantId, connectionId }),
    put(model, id, payload, ttlSeconds) {
      // A request that was under way when its family ended still gets its answer, but the tokens in
      // it are dead: nothing of a revoked family comes to life again.
      if (payload.grantId !== undefined && revoked.has(payload.grantId)) return;
      const expiresAtMs = ttlSeconds === undefined ? null : nowMs() + 1_000 * ttlSeconds;
      record({ op: 'put', model, id, payload, expiresAtMs });
      putsSincePurge += 1;
      if (putsSincePurge < purgeEveryPuts) return;
      putsSincePurge = 0;
      purgeExpired();
    },
    find,
    findWhere: (model, matches) =>
      [...stored.values()].find(
        (item) => item.model === model && !isExpired(item) && matches(item.payload),
      )?.payload,
    drop: (model, id) => record({ op: 'drop', model, id }),
    consume(refreshToken) {
      const payload = find(refreshTokenModel, refreshToken);
      if (payload === undefined || payload.consumed !== undefined) return false;
      record({ op: 'consume', id: refreshToken, atMs: nowMs() });
      return true;
    },
    revoke(grantId, cause) {
      if (!revoked.has(grantId)) record({ op: 'revoke', grantId, cause });
    },
    grantOfSpent: (refreshToken) => spent.get(refreshToken)?.grantId,
    countReuse: (grantId) => record({ op: 'reuse', grantId }),
    stats: () => ({
      total: [...counts.values()].reduce(addCounts, emptyCounts()),
      connections: Object.fromEntries([...counts].map(([id, mine]) => [id, { ...mine }])),
    }),
    flush: () => journal.flush(),
    close: () => journal.close(),
  };
}

function emptyCounts(): ExchangeCounts {
  return { exchanges: 0, reuse: 0, family_revocations: 0 };
}

function addCounts(left: ExchangeCounts, right: ExchangeCounts): ExchangeCounts {
  return {
    exchanges: left.exchanges + right.exchanges,
    reuse: left.reuse + right.reuse,
    family_revocations: left.family_revocations + right.family_revocations,
  };
}

function entries<Key, Value, Entry>(
  map: Map<Key, Value>,
  toEntry: (key: Key, value: Value) => Entry,
): Entry[] {
  return [...map].map(([key, value]) => toEntry(key, value));
}
