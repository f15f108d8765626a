import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import type { KeyManagementServiceClient } from '@google-cloud/kms';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createGoogleKeyProvider } from '../../vault/google-key-provider.ts';
import { loadGoogleKmsClient } from '../../vault/google-kms-client.ts';
import { kmsFailure } from '../../vault/google-kms-error.ts';
import type { KeyProvider } from '../../vault/key-provider.ts';
import { createKmsAdmin, setVersionEnabled } from '../support/kms-admin.ts';
import { kmsKeyName, startKmsServer, type KmsServer } from '../support/kms-server.ts';

const sameProject = kmsKeyName.replace('data-keys', 'next');
const elsewhere = kmsKeyName.replace('projects/test', 'projects/elsewhere');
const first = `${kmsKeyName}/cryptoKeyVersions/1`;
const context = { dataKeyId: '11111111-2222-4333-8444-555555555555', purpose: 'access' };

let server: KmsServer;
let admin: KeyManagementServiceClient;
let provider: KeyProvider;
beforeAll(async () => {
  server = await startKmsServer({ keyNames: [kmsKeyName, sameProject, elsewhere] });
  admin = createKmsAdmin(server.endpoint);
});
afterAll(async () => {
  await admin.close();
  server.close();
});
beforeEach(async () => {
  server.setFaults({});
  provider = await providerOf(kmsKeyName);
});

async function providerOf(keyName: string, otherKeyNames: string[] = []): Promise<KeyProvider> {
  const { hostname: host, port } = new URL(server.endpoint);
  const client = await loadGoogleKmsClient({ host, port: Number(port), isPlaintext: true });
  return createGoogleKeyProvider({ client, keyName, otherKeyNames });
}

const dataKey = () => randomBytes(32);

/** The failure of a call, of which nothing may show the key. */
async function failureOf(call: Promise<unknown>, key?: Buffer) {
  const error: unknown = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (key !== undefined) {
    const shown = inspect(error, { depth: 20, showHidden: true, maxArrayLength: null });
    for (const encoding of ['hex', 'base64', 'latin1'] as const) {
      expect(shown).not.toContain(key.toString(encoding));
    }
  }
  return error;
}

describe('the Google key provider', () => {
  it('wraps by the primary version, says which, and unwraps', async () => {
    const key = dataKey();
    const wrapped = await provider.wrap(key, context);
    expect(wrapped.keyVersion).toBe(first);
    expect(wrapped.wrapped.includes(key)).toBe(false);
    expect(await provider.unwrap(wrapped, context)).toEqual(key);
    expect(await (await providerOf(kmsKeyName)).unwrap(wrapped, context)).toEqual(key);
  });

  it('binds id and purpose: a wrapped key put elsewhere does not unwrap', async () => {
    const wrapped = await provider.wrap(dataKey(), context);
    for (const other of [
      { purpose: 'refresh' },
      { dataKeyId: context.dataKeyId.replace('1', '2') },
    ]) {
      expect(await failureOf(provider.unwrap(wrapped, { ...context, ...other }))).toMatchObject({
        code: 'key_service_unavailable',
        reason: 'damaged',
      });
    }
  });

  it('asks the key that wrapped, when KMS_KEY_NAME has changed', async () => {
    const key = dataKey();
    const wrapped = await provider.wrap(key, context);
    expect(await (await providerOf(sameProject)).unwrap(wrapped, context)).toEqual(key);
  });

  it('asks a key of another project only if it is configured', async () => {
    const key = dataKey();
    const wrapped = await (await providerOf(elsewhere)).wrap(key, context);
    const before = server.calls().decrypt;
    expect(await failureOf(provider.unwrap(wrapped, context))).toMatchObject({
      reason: 'other_key',
      message: expect.stringContaining('KMS_OTHER_KEY_NAMES') as string,
    });
    expect(server.calls().decrypt).toBe(before);
    expect(await (await providerOf(kmsKeyName, [elsewhere])).unwrap(wrapped, context)).toEqual(key);
  });

  it('sends checksums, and asks again for an answer that was changed on the way', async () => {
    const key = dataKey();
    for (const corrupts of ['answer', 'verification', 'request'] as const) {
      server.setFaults({ corrupts, corruptions: 1 });
      const before = server.calls();
      const wrapped = await provider.wrap(key, context);
      expect(server.calls().encrypt - before.encrypt).toBe(2);
      server.setFaults({ corrupts: corrupts === 'request' ? 'request' : 'answer', corruptions: 1 });
      expect(await provider.unwrap(wrapped, context)).toEqual(key);
      expect(server.calls().decrypt - before.decrypt).toBe(2);
    }
  });

  it('uses nothing of an answer that goes on being changed', async () => {
    const key = dataKey();
    const wrapped = await provider.wrap(key, context);
    for (const corrupts of ['answer', 'request'] as const) {
      server.setFaults({ corrupts });
      const failures = [
        await failureOf(provider.wrap(key, context), key),
        await failureOf(provider.unwrap(wrapped, context), key),
      ];
      for (const failure of failures) {
        expect(failure).toMatchObject({ reason: 'checksum_mismatch' });
      }
    }
  });
});

describe('a failure of Cloud KMS', () => {
  it.each([
    ['permission_denied', 'roles/cloudkms.cryptoKeyEncrypter', { denied: ['encrypt' as const] }],
    ['quota_exceeded', 'quotas', { quota: 0 }],
    ['unauthenticated', 'GOOGLE_APPLICATION_CREDENTIALS', { status: 'UNAUTHENTICATED' as const }],
    ['unavailable', 'gRPC status 14', { status: 'UNAVAILABLE' as const }],
    ['unavailable', 'gRPC status 13', { status: 'INTERNAL' as const }],
  ])('is %s, and says: %s', async (reason, text, faults) => {
    const wrapped = await provider.wrap(dataKey(), context);
    server.setFaults(faults);
    const key = dataKey();
    expect(await failureOf(provider.wrap(key, context), key)).toMatchObject({
      code: 'key_service_unavailable',
      reason,
      message: expect.stringContaining(text) as string,
    });
    if (reason === 'permission_denied') return;
    expect(await failureOf(provider.unwrap(wrapped, context))).toMatchObject({ reason });
  });

  it('tells a wrong name, a disabled and a destroyed version apart, by the version that wrapped', async () => {
    const wrapped = await provider.wrap(dataKey(), context);
    expect(
      await failureOf((await providerOf(`${kmsKeyName}-misspelt`)).wrap(dataKey(), context)),
    ).toMatchObject({
      reason: 'key_not_found',
      message: expect.stringContaining('KMS_KEY_NAME') as string,
    });
    await setVersionEnabled(admin, first, false);
    expect(await failureOf(provider.unwrap(wrapped, context))).toMatchObject({
      reason: 'key_disabled',
      message: expect.stringContaining(first) as string,
    });
    expect(await failureOf(provider.wrap(dataKey(), context))).toMatchObject({
      reason: 'key_disabled',
    });
    await admin.destroyCryptoKeyVersion({ name: first });
    expect(await failureOf(provider.unwrap(wrapped, context))).toMatchObject({
      reason: 'key_destroyed',
    });
    await admin.restoreCryptoKeyVersion({ name: first });
    await setVersionEnabled(admin, first, true);
    await provider.unwrap(wrapped, context);
  });

  it('does not repeat what the service says, which may quote what it was sent', () => {
    const echoed = Object.assign(new Error('3 INVALID_ARGUMENT: plaintext was cGxhbnRlZA=='), {
      code: 3,
    });
    const failure = kmsFailure(echoed, { op: 'encrypt', resource: kmsKeyName });
    expect(inspect(failure, { depth: 20, showHidden: true })).not.toContain('cGxhbnRlZA');
  });

  it('says when the API is not enabled', () => {
    const call = { op: 'encrypt', resource: kmsKeyName } as const;
    const disabled = Object.assign(new Error('denied'), { code: 7, reason: 'SERVICE_DISABLED' });
    expect(kmsFailure(disabled, call).message).toContain('enable cloudkms.googleapis.com');
  });
});

describe('deadlines and retries', () => {
  it('rides out a short outage, and gives up a longer one within six seconds', async () => {
    const wrapped = await provider.wrap(dataKey(), context);
    server.setFaults({ hangs: true });
    const startedAtMs = performance.now();
    const hanging = failureOf(provider.unwrap(wrapped, context));
    expect(await hanging).toMatchObject({ reason: 'unavailable' });
    const tookMs = performance.now() - startedAtMs;
    expect(tookMs).toBeGreaterThan(5_000);
    expect(tookMs).toBeLessThan(9_000);

    const short = provider.unwrap(wrapped, context);
    await new Promise((resolve) => setTimeout(resolve, 500));
    server.setFaults({});
    expect(await short).toHaveLength(32);
  }, 20_000);

  it('finds a service again that was away, without a new provider', async () => {
    const wrapped = await provider.wrap(dataKey(), context);
    server.stop();
    expect(await failureOf(provider.unwrap(wrapped, context))).toMatchObject({
      reason: 'unavailable',
    });
    await server.resume();
    const unwrap = () => provider.unwrap(wrapped, context).catch(() => Buffer.alloc(0));
    await expect.poll(async () => (await unwrap()).length, { timeout: 15_000 }).toBe(32);
  }, 20_000);

  it('starts anew after a start without credentials', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'google-credentials-'));
    const path = join(folder, 'service-account.json');
    vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', path);
    // TLS to where nobody listens: a start that has credentials gets that far.
    const client = await loadGoogleKmsClient({ host: '127.0.0.1', port: 1, isPlaintext: false });
    const real = createGoogleKeyProvider({ client, keyName: kmsKeyName, otherKeyNames: [] });
    const wrap = () => failureOf(real.wrap(dataKey(), context));
    try {
      expect(await wrap()).toMatchObject({ reason: 'unauthenticated' });
      writeFileSync(path, JSON.stringify(createServiceAccount()));
      expect(await wrap()).toMatchObject({ reason: 'unavailable' });
    } finally {
      vi.unstubAllEnvs();
      rmSync(folder, { recursive: true });
    }
  }, 20_000);
});

/** The credentials file of a service account that nobody knows. */
function createServiceAccount() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  return {
    type: 'service_account',
    project_id: 'test',
    client_email: 'token-manager@test.iam.gserviceaccount.com',
    private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  };
}
