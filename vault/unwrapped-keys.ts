import { createSecretKey } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../platform/clock.ts';
import type { DataKeyPurpose, DataKeyRow, DataKeyStore } from './data-key-store.ts';
import type { KeyService } from './key-service.ts';
import { keyServiceError } from './key-service-error.ts';
import type { SealingKey } from './sealed-value.ts';
import { createPacedFlight } from './single-flight.ts';
import { hexFromUuid } from './uuid.ts';

/** A data key seals some millions of values, so a process meets few; an evicted one is unwrapped again. */
const keysInMemoryMax = 1_000;
/** Whether the key service still unwraps a key is asked this long after it last did, while the key is used. */
const renewAfterMs = 60 * 60_000;
/** How soon it is asked again when it did not. */
const renewRetryMs = 60_000;
/** A key that the key service has not unwrapped for so long leaves memory, also in an outage. */
const lifetimeMs = 24 * 60 * 60_000;

/** A data key in memory. Its key is a KeyObject, which no inspect, log or JSON can print. */
export interface DataKey extends SealingKey {
  /** A UUID in lower case. */
  id: string;
  purpose: DataKeyPurpose;
  /** What it has sealed here since that was last told to the database. */
  untoldSeals: number;
}

interface Held {
  dataKey: DataKey;
  renewAtMs: number;
  lapsesAtMs: number;
}

/**
 * Data keys in memory. One that is used is unwrapped again every hour, behind the calls that use it; if
 * that fails it stays, until a day has passed: so long an outage of the key service is ridden out, and
 * so long it takes at most until a key version that was disabled is out of use.
 */
export interface UnwrappedKeys {
  /** `keyIdHex` is 32 hex digits. Awaits nothing. */
  get(keyIdHex: string): DataKey | undefined;
  /** The key of this row, unwrapped if it is not in memory. Throws `key_service_unavailable`. */
  unwrap(row: DataKeyRow): Promise<DataKey>;
}

export function createUnwrappedKeys(options: {
  store: Pick<DataKeyStore, 'findById'>;
  keyService: Pick<KeyService, 'unwrap'>;
  clock: Clock;
}): UnwrappedKeys {
  const { store, keyService, clock } = options;
  const byId = new LRUCache<string, Held>({ max: keysInMemoryMax });
  const unwraps = createPacedFlight<DataKey>(clock);

  function get(keyIdHex: string): DataKey | undefined {
    const held = byId.get(keyIdHex);
    if (held === undefined) return undefined;
    const now = clock.monotonicMs();
    if (now < held.renewAtMs) return held.dataKey;
    if (now >= held.lapsesAtMs) {
      byId.delete(keyIdHex);
      return undefined;
    }
    held.renewAtMs = now + renewRetryMs;
    // Nobody waits for it, and the key service logs and counts its failure.
    renew(keyIdHex, held).catch(() => undefined);
    return held.dataKey;
  }

  async function renew(keyIdHex: string, held: Held): Promise<void> {
    const row = await store.findById(held.dataKey.id);
    if (row === undefined) {
      byId.delete(keyIdHex);
      return;
    }
    const key = await unwrapKey(row);
    if (!key.equals(held.dataKey.key)) throw changedKey(row);
    Object.assign(held, timesFrom(clock.monotonicMs()));
  }

  async function unwrapKey(row: DataKeyRow) {
    const plaintextKey = await keyService.unwrap(row);
    const key = createSecretKey(plaintextKey);
    plaintextKey.fill(0);
    return key;
  }

  async function unwrapRow(row: DataKeyRow, keyIdHex: string): Promise<DataKey> {
    const key = await unwrapKey(row);
    const { id, purpose } = row;
    const dataKey = { id, purpose, idBytes: Buffer.from(keyIdHex, 'hex'), key, untoldSeals: 0 };
    dropLapsed();
    byId.set(keyIdHex, { dataKey, ...timesFrom(clock.monotonicMs()) });
    return dataKey;
  }

  /** Those that nobody has used since. */
  function dropLapsed(): void {
    const now = clock.monotonicMs();
    for (const [keyIdHex, { lapsesAtMs }] of byId) {
      if (now >= lapsesAtMs) byId.delete(keyIdHex);
    }
  }

  return {
    get,
    async unwrap(row) {
      const keyIdHex = hexFromUuid(row.id);
      return get(keyIdHex) ?? unwraps(keyIdHex, () => unwrapRow(row, keyIdHex));
    },
  };
}

function timesFrom(now: number): Pick<Held, 'renewAtMs' | 'lapsesAtMs'> {
  return { renewAtMs: now + renewAfterMs, lapsesAtMs: now + lifetimeMs };
}

function changedKey(row: DataKeyRow): Error {
  return keyServiceError(
    'damaged',
    `Data key ${row.id} (${row.purpose}) is not the one it was: restore its row in data_keys from a backup.`,
  );
}
