import { randomBytes as systemRandomBytes } from 'node:crypto';
import { TokenManagerError } from '../client/contract.ts';
import type { Clock } from '../platform/clock.ts';
import type { CurrentDataKeyRow, DataKeyPurpose, DataKeyStore } from './data-key-store.ts';
import type { KeyService } from './key-service.ts';
import { makeDataKey } from './make-data-key.ts';
import { createPacedFlight } from './single-flight.ts';
import type { DataKey, UnwrappedKeys } from './unwrapped-keys.ts';
import { hexFromUuid } from './uuid.ts';

/** A key that has sealed for so long is replaced. */
const dataKeyAgeMaxSeconds = 30 * 24 * 60 * 60;
/**
 * Or so many values: a quarter of the 2^32 for which random 96-bit nonces are safe (NIST SP 800-38D section
 * 8.3). The rest is for what processes that were killed did not tell, and for those that follow late.
 */
const dataKeySealsMax = 2 ** 30;
/** A process tells of its seals when it asks again, and by the time they are so many. */
const untoldSealsMax = 2 ** 16;
/** How long a process seals with a current key before it asks whether another one is current now. */
const askAgainAfterMs = 5 * 60_000;
/**
 * How long after its retirement a key may still seal: a sealer that a process has just asked for is used
 * at the end of its exchange, which takes 75 s at most.
 */
export const retiredKeySealsForMs = askAgainAfterMs + 90_000;
/** How soon it asks again when PostgreSQL was away; the asking is what callers wait for. */
const askAgainRetryMs = 5_000;
/** And when the key service was, which takes longer to say so. */
const unwrapRetryMs = 60_000;
/** For so long it goes on unasked; a key is retired for longer before it may be dropped. */
const unconfirmedMaxMs = 24 * 60 * 60_000;
/** A current key can be retired between two statements of ours; more often than this is a fault. */
const findAttemptsMax = 3;

interface Known {
  keyIdHex: string;
  askAgainAtMs: number;
  confirmedAtMs: number;
}

/** The key of each purpose that seals new values. */
export interface CurrentDataKeys {
  current: (purpose: DataKeyPurpose) => Promise<DataKey>;
  /** The next call for each purpose asks which key is current; for whoever must not trail a rotation. */
  forget: () => void;
}

export function createCurrentDataKeys(options: {
  store: DataKeyStore;
  keyService: Pick<KeyService, 'wrap'>;
  unwrapped: UnwrappedKeys;
  clock: Clock;
  randomBytes?: ((size: number) => Buffer) | undefined;
}): CurrentDataKeys {
  const { store, keyService, unwrapped, clock, randomBytes = systemRandomBytes } = options;
  const knownByPurpose = new Map<DataKeyPurpose, Known>();
  const finds = createPacedFlight<DataKey>(clock);
  const replacements = createPacedFlight<unknown>(clock);

  async function current(purpose: DataKeyPurpose): Promise<DataKey> {
    const known = knownByPurpose.get(purpose);
    const dataKey = known && unwrapped.get(known.keyIdHex);
    if (known === undefined || dataKey === undefined) return finds(purpose, () => find(purpose));
    const isDue =
      clock.monotonicMs() >= known.askAgainAtMs || dataKey.untoldSeals >= untoldSealsMax;
    if (!isDue) return dataKey;
    return finds(purpose, () => askAgain(purpose, known, dataKey));
  }

  /** Sealing goes on with the key in memory: one retired meanwhile still opens what it seals. */
  async function askAgain(
    purpose: DataKeyPurpose,
    known: Known,
    dataKey: DataKey,
  ): Promise<DataKey> {
    try {
      await tellSeals(dataKey);
      return await find(purpose);
    } catch (error) {
      const now = clock.monotonicMs();
      if (now - known.confirmedAtMs >= unconfirmedMaxMs) throw error;
      const isKeyServiceAway =
        error instanceof TokenManagerError && error.code === 'key_service_unavailable';
      known.askAgainAtMs = now + (isKeyServiceAway ? unwrapRetryMs : askAgainRetryMs);
      return dataKey;
    }
  }

  async function tellSeals(dataKey: DataKey): Promise<void> {
    const seals = dataKey.untoldSeals;
    if (seals === 0) return;
    await store.addSeals(dataKey.id, seals);
    dataKey.untoldSeals -= seals;
  }

  async function find(purpose: DataKeyPurpose): Promise<DataKey> {
    for (let attempt = 1; attempt <= findAttemptsMax; attempt += 1) {
      const row = await store.findCurrent(purpose);
      if (row === undefined) {
        await store.insertCurrent(await makeRow(purpose));
        continue;
      }
      // A key seals nothing before it was read back and unwrapped: what it seals can be opened.
      const dataKey = await unwrapped.unwrap(row);
      const now = clock.monotonicMs();
      knownByPurpose.set(purpose, {
        keyIdHex: hexFromUuid(row.id),
        askAgainAtMs: now + askAgainAfterMs,
        confirmedAtMs: now,
      });
      if (isUsedUp(row)) {
        // Nobody waits for it, and the key service logs and counts its failure; it is tried when asked again.
        replacements(purpose, () => replace(row)).catch(() => undefined);
      }
      return dataKey;
    }
    throw new TokenManagerError('internal', {
      detail: `No data key for purpose ${purpose} stays current.`,
    });
  }

  async function replace(row: CurrentDataKeyRow): Promise<void> {
    await store.replaceCurrent(row.id, await makeRow(row.purpose));
    const known = knownByPurpose.get(row.purpose);
    if (known !== undefined) known.askAgainAtMs = 0;
  }

  /** Loses without harm when another process makes the current key at the same time. */
  function makeRow(purpose: DataKeyPurpose) {
    return makeDataKey(purpose, randomBytes, (key, plaintextKey) =>
      keyService.wrap(key, plaintextKey),
    );
  }

  /** What is known stays, for when PostgreSQL or the key service is away. */
  function forget(): void {
    for (const known of knownByPurpose.values()) known.askAgainAtMs = 0;
  }

  return { current, forget };
}

/** Fingerprints of another key would know no token again: that key is for ever. */
function isUsedUp({ purpose, ageSeconds, seals }: CurrentDataKeyRow): boolean {
  if (purpose === 'fingerprint') return false;
  return ageSeconds >= dataKeyAgeMaxSeconds || seals >= dataKeySealsMax;
}
