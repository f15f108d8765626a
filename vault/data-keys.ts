import { createSecretKey, randomBytes as systemRandomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { TokenManagerError } from '../client/contract.ts';
import type { Clock } from '../platform/clock.ts';
import type { Metrics } from '../platform/metrics.ts';
import {
  createDataKeyStore,
  type DataKeyPurpose,
  type DataKeyRow,
  type Queryable,
} from './data-key-store.ts';
import type { KeyProvider } from './key-provider.ts';
import { doesNotOpen, keyIdBytes, type SealingKey } from './sealed-value.ts';
import { createSingleFlight } from './single-flight.ts';

const dataKeyBytes = 32;
/** A data key seals some millions of values, so a process meets few; an evicted one is unwrapped again. */
const keysInMemoryMax = 1_000;
/** How long a process seals with a current key before it asks whether another one is current now. */
const currentKeyLifetimeMs = 5 * 60_000;
/** How soon it asks again when PostgreSQL or the key service was away. */
const currentKeyRetryMs = 5_000;
/** A current key can be retired between two statements of ours; more often than this is a fault. */
const findCurrentAttemptsMax = 3;

/** A data key in memory. Its key is a KeyObject, which no inspect, log or JSON can print. */
export interface DataKey extends SealingKey {
  /** A UUID in lower case. */
  id: string;
  purpose: DataKeyPurpose;
}

/** Data keys, unwrapped on first need and kept in memory. */
export interface DataKeys {
  /**
   * The key with this id, 32 hex digits, if it is in memory and has this purpose: the read path,
   * which must not wait.
   */
  inMemory(keyIdHex: string, purpose: DataKeyPurpose): DataKey | undefined;
  /**
   * The same, read and unwrapped if need be. Throws `internal` when no such key has this purpose,
   * `store_unavailable`, `key_service_unavailable`.
   */
  load(keyIdHex: string, purpose: DataKeyPurpose): Promise<DataKey>;
  /**
   * The key that seals new values; the first process that needs one makes it, and all agree on it.
   * Known ones go on being used while PostgreSQL or the key service is away. Throws
   * `store_unavailable`, `key_service_unavailable`.
   */
  current(purpose: DataKeyPurpose): Promise<DataKey>;
}

export interface DataKeysOptions {
  pool: Queryable;
  keyProvider: KeyProvider;
  clock: Clock;
  metrics: Pick<Metrics, 'dataKeyOperations'>;
  randomBytes?: (size: number) => Buffer;
}

interface CurrentKey {
  dataKey: DataKey;
  askAgainAtMs: number;
}

export function createDataKeys(options: DataKeysOptions): DataKeys {
  const { pool, keyProvider, clock, metrics, randomBytes = systemRandomBytes } = options;
  const store = createDataKeyStore(pool);
  const byId = new LRUCache<string, DataKey>({ max: keysInMemoryMax });
  const currentByPurpose = new Map<DataKeyPurpose, CurrentKey>();
  const loads = createSingleFlight<DataKey>();
  const unwraps = createSingleFlight<DataKey>();
  const finds = createSingleFlight<DataKey>();

  function inMemory(keyIdHex: string, purpose: DataKeyPurpose): DataKey | undefined {
    const dataKey = byId.get(keyIdHex);
    return dataKey?.purpose === purpose ? dataKey : undefined;
  }

  async function load(keyIdHex: string, purpose: DataKeyPurpose): Promise<DataKey> {
    return (
      inMemory(keyIdHex, purpose) ??
      loads(`${purpose} ${keyIdHex}`, () => readAndUnwrap(keyIdHex, purpose))
    );
  }

  async function readAndUnwrap(keyIdHex: string, purpose: DataKeyPurpose): Promise<DataKey> {
    const row = await store.findById(uuidFromHex(keyIdHex));
    // No key of this id, or one of another purpose, can only mean that the sealed bytes were changed.
    if (row?.purpose !== purpose) throw doesNotOpen();
    return unwrap(row);
  }

  async function unwrap(row: DataKeyRow): Promise<DataKey> {
    const keyIdHex = hexFromUuid(row.id);
    return byId.get(keyIdHex) ?? unwraps(keyIdHex, () => unwrapRow(row, keyIdHex));
  }

  async function unwrapRow(row: DataKeyRow, keyIdHex: string): Promise<DataKey> {
    if (row.keyProvider !== keyProvider.name) throw wrappedElsewhere(row, keyProvider.name);
    const context = { dataKeyId: row.id, purpose: row.purpose };
    const plaintextKey = await counted('unwrap', () => keyProvider.unwrap(row, context));
    if (plaintextKey.length !== dataKeyBytes) throw wrongLength(row);
    const dataKey: DataKey = {
      id: row.id,
      purpose: row.purpose,
      idBytes: Buffer.from(keyIdHex, 'hex'),
      key: createSecretKey(plaintextKey),
    };
    plaintextKey.fill(0);
    byId.set(keyIdHex, dataKey);
    return dataKey;
  }

  async function current(purpose: DataKeyPurpose): Promise<DataKey> {
    const known = currentByPurpose.get(purpose);
    if (known !== undefined && clock.monotonicMs() < known.askAgainAtMs) return known.dataKey;
    return finds(purpose, () => refreshCurrent(purpose, known));
  }

  async function refreshCurrent(
    purpose: DataKeyPurpose,
    known: CurrentKey | undefined,
  ): Promise<DataKey> {
    try {
      const dataKey = await findOrMakeCurrent(purpose);
      const askAgainAtMs = clock.monotonicMs() + currentKeyLifetimeMs;
      currentByPurpose.set(purpose, { dataKey, askAgainAtMs });
      return dataKey;
    } catch (error) {
      // Sealing goes on with the key in memory: one retired meanwhile still opens what it seals.
      if (known === undefined) throw error;
      known.askAgainAtMs = clock.monotonicMs() + currentKeyRetryMs;
      return known.dataKey;
    }
  }

  async function findOrMakeCurrent(purpose: DataKeyPurpose): Promise<DataKey> {
    for (let attempt = 1; attempt <= findCurrentAttemptsMax; attempt += 1) {
      const row = await store.findCurrent(purpose);
      // A key seals nothing before it was read back and unwrapped: what it seals can be opened.
      if (row !== undefined) return unwrap(row);
      await makeCurrent(purpose);
    }
    throw new TokenManagerError('internal', {
      detail: `No data key for purpose ${purpose} stays current.`,
    });
  }

  /** Loses without harm when another process makes the current key at the same time. */
  async function makeCurrent(purpose: DataKeyPurpose): Promise<void> {
    const id = uuidFromHex(versionFour(randomBytes(keyIdBytes)).toString('hex'));
    const plaintextKey = randomBytes(dataKeyBytes);
    const context = { dataKeyId: id, purpose };
    const wrappedKey = await counted('wrap', () => keyProvider.wrap(plaintextKey, context));
    plaintextKey.fill(0);
    await store.insertCurrent({ id, purpose, keyProvider: keyProvider.name, ...wrappedKey });
  }

  async function counted<Result>(
    op: 'wrap' | 'unwrap',
    call: () => Promise<Result>,
  ): Promise<Result> {
    const provider = keyProvider.name;
    try {
      const result = await call();
      metrics.dataKeyOperations.inc({ provider, op, outcome: 'ok' });
      return result;
    } catch (cause) {
      metrics.dataKeyOperations.inc({ provider, op, outcome: 'error' });
      if (cause instanceof TokenManagerError) throw cause;
      throw new TokenManagerError('key_service_unavailable', { cause });
    }
  }

  return { inMemory, load, current };
}

function uuidFromHex(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function hexFromUuid(uuid: string): string {
  return uuid.replaceAll('-', '');
}

/** Marks 16 random bytes as a UUID of version 4 (RFC 9562 section 5.4). */
function versionFour(bytes: Buffer): Buffer {
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x40, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes;
}

function wrappedElsewhere(row: DataKeyRow, configured: string): TokenManagerError {
  return new TokenManagerError('key_service_unavailable', {
    detail:
      `Data key ${row.id} (${row.purpose}) was wrapped by key provider ${row.keyProvider}, and this ` +
      `process is configured with ${configured}: configure the provider this database was used with.`,
  });
}

function wrongLength(row: DataKeyRow): TokenManagerError {
  return new TokenManagerError('key_service_unavailable', {
    detail: `Data key ${row.id} (${row.purpose}) does not unwrap to ${dataKeyBytes} bytes.`,
  });
}
