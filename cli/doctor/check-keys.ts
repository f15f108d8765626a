import type { KeyObject } from 'node:crypto';
import type pg from 'pg';
import { TokenManagerError } from '../../client/contract.ts';
import { createDataKeyStore, type DataKeyRow } from '../../vault/data-key-store.ts';
import type { KeyProvider } from '../../vault/key-provider.ts';
import { loadLocalKey } from '../../vault/local-key-file.ts';
import { createLocalKeyProvider } from '../../vault/local-key-provider.ts';
import { databaseReason } from '../database-away.ts';
import { reporterOf, type Finding } from './finding.ts';

/** Data keys are few; of more than this only the newest are tried. */
const dataKeysMax = 1_000;

const report = reporterOf('keys');

/** Whether the key file can be used, and opens every data key that is stored. */
export async function checkKeys(localKeyFile: string, pool: pg.Pool | undefined) {
  let key: KeyObject;
  try {
    key = await loadLocalKey(localKeyFile);
  } catch (error) {
    return [judgeKeyFile(error)];
  }
  const readable = report.ok(`the key file ${localKeyFile} holds a key of the right size`);
  return [readable, await checkDataKeys(createLocalKeyProvider(key), pool)];
}

/** The sentence of the vault says what to do behind its colon. */
export function judgeKeyFile(error: unknown): Finding {
  const text = error instanceof TokenManagerError ? error.message : 'The key file cannot be used.';
  const end = text.indexOf(': ');
  return end === -1
    ? report.fault(text, 'set LOCAL_KEY_FILE to the file this database was used with')
    : report.fault(text.slice(0, end), text.slice(end + 2));
}

async function checkDataKeys(provider: KeyProvider, pool: pg.Pool | undefined): Promise<Finding> {
  const unasked = (why: string) =>
    report.warning(`whether it opens the stored data keys is not checked: ${why}`, 'see database');
  if (pool === undefined) return unasked('the settings of the database are at fault');
  try {
    const rows = await createDataKeyStore(pool).list(dataKeysMax);
    const failures = await Promise.all(rows.map((row) => failureOf(provider, row)));
    return judgeDataKeys(
      rows.length,
      failures.filter((failure) => failure !== undefined),
    );
  } catch (error) {
    return unasked(databaseReason(error));
  }
}

/** Why the data key does not open; undefined: it does. */
async function failureOf(provider: KeyProvider, row: DataKeyRow): Promise<string | undefined> {
  if (row.keyProvider !== provider.name) {
    return `Data key ${row.id} was wrapped by ${row.keyProvider}, not by a local key file.`;
  }
  try {
    const plaintextKey = await provider.unwrap(row, { dataKeyId: row.id, purpose: row.purpose });
    plaintextKey.fill(0);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : 'unknown reason';
  }
}

export function judgeDataKeys(count: number, failures: string[]): Finding {
  const [first] = failures;
  if (first === undefined) {
    return count === 0
      ? report.ok('no data key is stored yet: the first process makes them')
      : report.ok(`it opens all ${count} data keys that are stored`);
  }
  return report.fault(
    `${failures.length} of ${count} data keys do not open, nor does what they seal. The first: ${first}`,
    'set LOCAL_KEY_FILE to the file this database was used with; do not make a new one',
  );
}
