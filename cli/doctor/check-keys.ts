import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { TokenManagerError } from '../../client/contract.ts';
import type { KeysConfig } from '../../platform/key-settings.ts';
import { createDataKeyStore } from '../../vault/data-key-store.ts';
import { dataKeyBytes, unwrapDataKey } from '../../vault/data-key-wrapping.ts';
import { googleKeyProviderName } from '../../vault/google-key-provider.ts';
import type { KeyProvider, KeyProviders } from '../../vault/key-provider.ts';
import { databaseReason } from '../database-away.ts';
import { loadKeyProviders } from '../load-key-providers.ts';
import { reporterOf, type Finding } from './finding.ts';

/** Data keys are few; of more than this only the newest are tried. */
const dataKeysMax = 1_000;
/** What the trial binds its key to; no data key has this id. */
const trialContext = { dataKeyId: '00000000-0000-0000-0000-000000000000', purpose: 'doctor' };

const report = reporterOf('keys');

/** Whether the key providers can be used, and open every data key that is stored. */
export async function checkKeys(config: KeysConfig, pool: pg.Pool | undefined): Promise<Finding[]> {
  let providers: KeyProviders;
  try {
    providers = await loadKeyProviders(config);
  } catch (error) {
    return [faultOf(error)];
  }
  const google = providers.named(googleKeyProviderName);
  return [
    ...(config.localKeyFile === undefined
      ? []
      : [report.ok(`the key file ${config.localKeyFile} holds a key of the right size`)]),
    ...(google === undefined ? [] : [await tryKms(google)]),
    await checkDataKeys(providers, pool),
  ];
}

/** Wraps a key and unwraps it, as a process does: with no more than the permissions that takes. */
async function tryKms(provider: KeyProvider): Promise<Finding> {
  const trial = randomBytes(dataKeyBytes);
  try {
    const wrapped = await provider.wrap(trial, trialContext);
    const unwrapped = await provider.unwrap(wrapped, trialContext);
    return unwrapped.equals(trial)
      ? report.ok(`Cloud KMS wraps and unwraps with ${wrapped.keyVersion}`)
      : report.fault('Cloud KMS unwraps something else', 'look at what KMS_API_ENDPOINT names');
  } catch (error) {
    return faultOf(error);
  }
}

/** The sentence of a key provider says what to do behind its first colon. */
export function faultOf(error: unknown, before = ''): Finding {
  const text = error instanceof TokenManagerError ? error.message : 'A key provider failed.';
  const end = text.indexOf(': ');
  return end === -1
    ? report.fault(before + text, 'configure the keys that this database was used with')
    : report.fault(before + text.slice(0, end), text.slice(end + 2));
}

async function checkDataKeys(providers: KeyProviders, pool: pg.Pool | undefined): Promise<Finding> {
  const unasked = (why: string) =>
    report.warning(`whether the stored data keys open is not checked: ${why}`, 'see database');
  if (pool === undefined) return unasked('the settings of the database are at fault');
  try {
    const rows = await createDataKeyStore(pool).list(dataKeysMax);
    const opened = await Promise.allSettled(
      rows.map(async (row) => void (await unwrapDataKey(providers, row)).fill(0)),
    );
    return judgeDataKeys(
      rows.length,
      opened.filter(({ status }) => status === 'rejected').map(failureOf),
    );
  } catch (error) {
    return unasked(databaseReason(error));
  }
}

function failureOf(settled: PromiseSettledResult<void>): unknown {
  return settled.status === 'rejected' ? settled.reason : undefined;
}

export function judgeDataKeys(count: number, failures: unknown[]): Finding {
  if (failures.length > 0) {
    return faultOf(
      failures[0],
      `${failures.length} of ${count} data keys do not open, nor does what they seal. The first: `,
    );
  }
  return count === 0
    ? report.ok('no data key is stored yet: the first process makes them')
    : report.ok(`all ${count} data keys that are stored open`);
}
