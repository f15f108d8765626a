import { createSecretKey } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import { createMetrics } from '../../platform/metrics.ts';
import { Secret } from '../../platform/secret.ts';
import { createVault } from '../../vault/create-vault.ts';
import { createDataKeyStore, replaceablePurposes } from '../../vault/data-key-store.ts';
import { createGoogleKeyProvider } from '../../vault/google-key-provider.ts';
import { loadGoogleKmsClient } from '../../vault/google-kms-client.ts';
import {
  createKeyProviders,
  type KeyProvider,
  type KeyProviders,
} from '../../vault/key-provider.ts';
import { createLocalKeyProvider } from '../../vault/local-key-provider.ts';
import { rewrapDataKeys } from '../../vault/rewrap-data-keys.ts';
import { rotateDataKeys } from '../../vault/rotate-data-keys.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { kmsKeyName, startKmsServer, type KmsServer } from '../support/kms-server.ts';

const owner = { tenantId: 't1', id: 'c1', generation: 1 };
const plaintext = new Secret('at-planted');
const local = createLocalKeyProvider(createSecretKey(Buffer.alloc(32, 7)));

let database: TestDatabase;
let kms: KmsServer;
let google: KeyProvider;
beforeAll(async () => {
  [database, kms] = await Promise.all([
    createTestDatabase(),
    startKmsServer({ keyNames: [kmsKeyName] }),
  ]);
  const { hostname, port } = new URL(kms.endpoint);
  google = createGoogleKeyProvider({
    client: await loadGoogleKmsClient({ host: hostname, port: Number(port), isPlaintext: true }),
    keyName: kmsKeyName,
    otherKeyNames: [],
  });
});
afterAll(async () => {
  kms.close();
  await database.drop();
});

const vaultWith = (keyProviders: KeyProviders) =>
  createVault({
    pool: database.pool,
    keyProviders,
    clock: systemClock,
    metrics: createMetrics({ subsystem: 'test' }),
    log: { warn: () => undefined },
  });

async function wrappedBy(): Promise<string[]> {
  const keys = await createDataKeyStore(database.pool).list(100);
  return [...new Set(keys.map(({ keyProvider }) => keyProvider))];
}

it('data keys move from the local file to Cloud KMS and back, retired ones too, and all opens', async () => {
  const store = createDataKeyStore(database.pool);
  const localFirst = createKeyProviders(local, [google]);
  const kmsFirst = createKeyProviders(google, [local]);
  const running = vaultWith(localFirst);
  const before = (await running.sealer()).seal('access-token', owner, plaintext);
  const fingerprint = (await running.sealer()).fingerprint(plaintext);
  await rotateDataKeys({ store, keyProviders: localFirst }, replaceablePurposes);
  expect(await wrappedBy()).toEqual(['local']);

  const there = await rewrapDataKeys({ store, keyProviders: kmsFirst }, 100);
  expect(there).toHaveLength(5 + replaceablePurposes.length);
  expect(new Set(there.map(({ outcome }) => outcome))).toEqual(new Set(['rewrapped']));
  expect(await wrappedBy()).toEqual(['google-kms']);
  // A process that knows Cloud KMS only, and one that had the keys before.
  const cold = vaultWith(createKeyProviders(google));
  for (const vault of [cold, running]) {
    expect((await vault.open('access-token', owner, before.bytes)).reveal()).toBe('at-planted');
    expect((await vault.sealer()).fingerprint(plaintext)).toEqual(fingerprint);
  }

  const again = await rewrapDataKeys({ store, keyProviders: kmsFirst }, 100);
  expect(new Set(again.map(({ outcome }) => outcome))).toEqual(new Set(['unchanged']));
  await rewrapDataKeys({ store, keyProviders: localFirst }, 100);
  expect(await wrappedBy()).toEqual(['local']);
  const back = vaultWith(createKeyProviders(local));
  expect((await back.open('access-token', owner, before.bytes)).reveal()).toBe('at-planted');
});

it('nothing is retired, and nothing rewrapped, by a provider that does not unwrap what it wraps', async () => {
  const store = createDataKeyStore(database.pool);
  const broken: KeyProvider = {
    ...local,
    name: 'broken',
    unwrap: () => Promise.reject(new Error('the right to decrypt is missing')),
  };
  const keyProviders = createKeyProviders(broken, [local]);
  const before = await store.list(100);
  await expect(rotateDataKeys({ store, keyProviders }, replaceablePurposes)).rejects.toThrow(
    'right',
  );
  await expect(rewrapDataKeys({ store, keyProviders }, 100)).rejects.toThrow('right');
  expect(await store.list(100)).toEqual(before);
});
