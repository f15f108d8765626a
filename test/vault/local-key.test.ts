import { createSecretKey } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLocalKeyFile, loadLocalKey } from '../../vault/local-key-file.ts';
import { createLocalKeyProvider } from '../../vault/local-key-provider.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'local-key-'));
});
afterAll(() => rm(folder, { recursive: true }));

const dataKey = Buffer.alloc(32, 5);
const context = { dataKeyId: '0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f0', purpose: 'access' };
const providerWith = (byte: number) =>
  createLocalKeyProvider(createSecretKey(Buffer.alloc(32, byte)));

describe('the local key provider', () => {
  it('unwraps what it wrapped, in another process with the same file too', async () => {
    const wrapped = await providerWith(1).wrap(dataKey, context);
    expect(await providerWith(1).unwrap(wrapped, context)).toEqual(dataKey);
  });

  it('wraps the same key to other bytes each time, none of them the key', async () => {
    const provider = providerWith(1);
    const [one, two] = [
      await provider.wrap(dataKey, context),
      await provider.wrap(dataKey, context),
    ];
    expect(one.wrapped).not.toEqual(two.wrapped);
    expect(one.wrapped.includes(dataKey)).toBe(false);
  });

  it('says that the key file is not the one that wrapped', async () => {
    const wrapped = await providerWith(1).wrap(dataKey, context);
    await expect(providerWith(2).unwrap(wrapped, context)).rejects.toMatchObject({
      code: 'key_service_unavailable',
      message: expect.stringContaining('is not the one that wrapped') as string,
    });
  });

  it('does not unwrap with another file even under the name of the right one', async () => {
    const wrapped = await providerWith(1).wrap(dataKey, context);
    const { keyVersion } = await providerWith(2).wrap(dataKey, context);
    await expect(providerWith(2).unwrap({ ...wrapped, keyVersion }, context)).rejects.toMatchObject(
      { code: 'key_service_unavailable' },
    );
  });

  it.each([
    ['put under another id', { ...context, dataKeyId: '00000000-0000-4000-8000-000000000000' }],
    ['put under another purpose', { ...context, purpose: 'refresh' }],
  ])('does not unwrap a key %s', async (_, other) => {
    const wrapped = await providerWith(1).wrap(dataKey, context);
    await expect(providerWith(1).unwrap(wrapped, other)).rejects.toMatchObject({
      code: 'key_service_unavailable',
      message: expect.stringContaining('restore it from a backup') as string,
    });
  });

  it.each([0, 5, 27, 59])('does not unwrap what is cut to %i bytes', async (length) => {
    const { wrapped, keyVersion } = await providerWith(1).wrap(dataKey, context);
    await expect(
      providerWith(1).unwrap({ wrapped: wrapped.subarray(0, length), keyVersion }, context),
    ).rejects.toMatchObject({ code: 'key_service_unavailable' });
  });
});

describe('the local key file', () => {
  it('is made readable by its owner alone, and loads', async () => {
    const path = join(folder, 'made.key');
    expect(await createLocalKeyFile(path)).toBe(true);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await loadLocalKey(path)).symmetricKeySize).toBe(32);
  });

  it('is never replaced, also when several make it at once, and leaves no draft behind', async () => {
    const path = join(folder, 'raced.key');
    const made = await Promise.all(Array.from({ length: 8 }, () => createLocalKeyFile(path)));
    expect(made.filter(Boolean)).toHaveLength(1);
    const contents = await readFile(path, 'utf8');
    expect(await createLocalKeyFile(path)).toBe(false);
    expect(await readFile(path, 'utf8')).toBe(contents);
    expect((await readdir(folder)).filter((name) => name.startsWith('raced'))).toEqual([
      'raced.key',
    ]);
  });

  it('says what to do when its folder is missing', async () => {
    await expect(createLocalKeyFile(join(folder, 'no', 'such.key'))).rejects.toThrow(
      'its folder must exist and be writable',
    );
  });

  it('says what to do when it is missing', async () => {
    await expect(loadLocalKey(join(folder, 'missing.key'))).rejects.toMatchObject({
      code: 'key_service_unavailable',
      message: expect.stringContaining('openssl rand -base64 32') as string,
    });
  });

  it('says what to do when it cannot be read', async () => {
    await expect(loadLocalKey(folder)).rejects.toThrow('allow this process to read it');
  });

  it.each([
    ['too short', Buffer.alloc(31).toString('base64')],
    ['too long', Buffer.alloc(33).toString('base64')],
    ['empty', ''],
    ['not base64', `${'*'.repeat(43)}=`],
    ['hexadecimal', Buffer.alloc(32).toString('hex')],
    ['two keys', `${Buffer.alloc(32).toString('base64')}\n${Buffer.alloc(32).toString('base64')}`],
  ])('is refused when its contents are %s, without repeating them', async (name, contents) => {
    const path = join(folder, `${name.replaceAll(' ', '-')}.key`);
    await writeFile(path, contents);
    await chmod(path, 0o600);
    const error: unknown = await loadLocalKey(path).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'key_service_unavailable' });
    if (contents !== '') expect(String(error)).not.toContain(contents);
  });
});
