import type { KeyManagementServiceClient } from '@google-cloud/kms';
import { Crc32c } from '@aws-crypto/crc32c';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createKmsAdmin, setVersionEnabled } from './kms-admin.ts';
import { kmsKeyName, startKmsServer, type KmsServer } from './kms-server.ts';

const secondKeyName = kmsKeyName.replace('data-keys', 'second');
const plaintext = Buffer.from('a data key');
const data = Buffer.from('what it is bound to');
const first = `${kmsKeyName}/cryptoKeyVersions/1`;

let server: KmsServer;
let client: KeyManagementServiceClient;
beforeAll(async () => {
  server = await startKmsServer({ keyNames: [kmsKeyName, secondKeyName] });
  client = createKmsAdmin(server.endpoint);
  await client.initialize();
});
afterAll(async () => {
  await client.close();
  server.close();
});
beforeEach(() => server.setFaults({}));

const crc32c = (bytes: Uint8Array) => new Crc32c().update(bytes).digest();
// Failures are looked at, not ridden out.
const once = { timeout: 2_000, retry: { retryCodes: [] } };

async function encrypt(name = kmsKeyName) {
  const request = { name, plaintext, additionalAuthenticatedData: data };
  const [response] = await client.encrypt(request, once);
  return response;
}
async function decrypt(ciphertext: Uint8Array, name = kmsKeyName, bound = data) {
  const request = { name, ciphertext, additionalAuthenticatedData: bound };
  const [response] = await client.decrypt(request, once);
  return Buffer.from(response.plaintext as Uint8Array).toString();
}
async function ciphertextOf(name?: string) {
  return Buffer.from((await encrypt(name)).ciphertext as Uint8Array);
}

describe('the test server of Cloud KMS, asked by the client library', () => {
  it('encrypts with the primary version and decrypts by the key', async () => {
    const response = await encrypt();
    expect(response.name).toBe(first);
    const ciphertext = Buffer.from(response.ciphertext as Uint8Array);
    expect(ciphertext.includes(plaintext)).toBe(false);
    expect(await decrypt(ciphertext)).toBe('a data key');
  });

  it('opens nothing for another key, other additional data, or changed bytes', async () => {
    const ciphertext = await ciphertextOf();
    const changed = Buffer.from(ciphertext);
    changed[20] = (changed[20] ?? 0) ^ 1;
    for (const attempt of [
      decrypt(ciphertext, secondKeyName),
      decrypt(ciphertext, kmsKeyName, Buffer.from('other')),
      decrypt(changed),
      decrypt(ciphertext.subarray(0, 10)),
    ]) {
      await expect(attempt).rejects.toMatchObject({ code: 3 });
    }
  });

  it('knows keys, lists versions, and goes by the primary one', async () => {
    const [version] = await client.createCryptoKeyVersion({ parent: secondKeyName });
    expect(version.name).toBe(`${secondKeyName}/cryptoKeyVersions/2`);
    const before = await encrypt(secondKeyName);
    await client.updateCryptoKeyPrimaryVersion({ name: secondKeyName, cryptoKeyVersionId: '2' });
    const after = await encrypt(secondKeyName);
    expect([before.name, after.name]).toEqual([
      `${secondKeyName}/cryptoKeyVersions/1`,
      version.name,
    ]);
    const [key] = await client.getCryptoKey({ name: secondKeyName });
    expect([key.purpose, key.primary?.name]).toEqual(['ENCRYPT_DECRYPT', version.name]);
    const [versions] = await client.listCryptoKeyVersions({ parent: secondKeyName });
    expect(versions.map(({ state }) => state)).toEqual(['ENABLED', 'ENABLED']);
    expect(await decrypt(Buffer.from(before.ciphertext as Uint8Array), secondKeyName)).toBe(
      'a data key',
    );
    await expect(encrypt(`${kmsKeyName}-missing`)).rejects.toMatchObject({ code: 5 });
  });

  it('does nothing with a version that is disabled or destroyed, until it is restored', async () => {
    const ciphertext = await ciphertextOf();
    await setVersionEnabled(client, first, false);
    await expect(decrypt(ciphertext)).rejects.toMatchObject({
      code: 9,
      details: `${first} is not enabled, current state is: DISABLED.`,
    });
    await expect(encrypt()).rejects.toMatchObject({ code: 9 });
    await client.destroyCryptoKeyVersion({ name: first });
    await expect(decrypt(ciphertext)).rejects.toMatchObject({
      details: expect.stringContaining('DESTROY_SCHEDULED') as string,
    });
    await client.restoreCryptoKeyVersion({ name: first });
    const [restored] = await client.getCryptoKeyVersion({ name: first });
    expect(restored.state).toBe('DISABLED');
    await setVersionEnabled(client, first, true);
    expect(await decrypt(ciphertext)).toBe('a data key');
  });

  it('checks the checksums it is sent, confirms them, and sends its own', async () => {
    const request = {
      name: kmsKeyName,
      plaintext,
      plaintextCrc32c: { value: crc32c(plaintext) },
      additionalAuthenticatedData: data,
      additionalAuthenticatedDataCrc32c: { value: crc32c(data) },
    };
    const [response] = await client.encrypt(request, once);
    expect(response).toMatchObject({
      verifiedPlaintextCrc32c: true,
      verifiedAdditionalAuthenticatedDataCrc32c: true,
      ciphertextCrc32c: { value: String(crc32c(response.ciphertext as Uint8Array)) },
    });
    expect(await encrypt()).toMatchObject({ verifiedPlaintextCrc32c: false });
    await expect(
      client.encrypt({ ...request, plaintextCrc32c: { value: 1 } }, once),
    ).rejects.toMatchObject({ code: 3 });
  });

  it('fails as it is told: status, permission, quota, silence, changed bytes, and counts it all', async () => {
    const before = server.calls().encrypt;
    server.setFaults({ status: 'UNAVAILABLE' });
    await expect(encrypt()).rejects.toMatchObject({ code: 14 });
    server.setFaults({ denied: ['encrypt'] });
    await expect(encrypt()).rejects.toMatchObject({ code: 7 });
    server.setFaults({ quota: 1 });
    await encrypt();
    await expect(encrypt()).rejects.toMatchObject({ code: 8 });
    server.setFaults({ hangs: true });
    const request = { name: kmsKeyName, plaintext };
    await expect(
      client.encrypt(request, { timeout: 100, retry: { retryCodes: [] } }),
    ).rejects.toMatchObject({ code: 4 });
    server.setFaults({ corrupts: 'answer', corruptions: 1 });
    const spoilt = await encrypt();
    expect(String(spoilt.ciphertextCrc32c?.value)).not.toBe(
      String(crc32c(spoilt.ciphertext as Uint8Array)),
    );
    server.setFaults({ latencyMs: 50 });
    const startedAtMs = performance.now();
    await encrypt();
    expect(performance.now() - startedAtMs).toBeGreaterThan(45);
    expect(server.calls().encrypt - before).toBe(7);
  });

  it('goes away, and comes back on the same port with the same keys', async () => {
    const ciphertext = await ciphertextOf();
    server.stop();
    // A call on a connection that is cut may be CANCELLED; later ones are UNAVAILABLE.
    await expect(decrypt(ciphertext)).rejects.toThrow();
    await server.resume();
    await expect
      .poll(() => decrypt(ciphertext).catch(() => 'away'), { timeout: 30_000 })
      .toBe('a data key');
  }, 40_000);
});
