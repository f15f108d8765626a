import { fileURLToPath } from 'node:url';
import { ESLint } from 'eslint';
import tseslint from 'typescript-eslint';
import { beforeAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const importRule = '@typescript-eslint/no-restricted-imports';

let eslint: ESLint;
beforeAll(async () => {
  eslint = new ESLint({
    cwd: root,
    // The files of this test do not exist, so nothing can know their types; the import table needs none.
    overrideConfig: [{ files: ['**/*.ts'], ...tseslint.configs.disableTypeChecked }],
  });
  // The first file loads the configuration and its plugins.
  await importFaults('client/first.ts', '');
});

/** What the import table says of a file with this content. */
async function importFaults(path: string, content: string): Promise<string[]> {
  const [result] = await eslint.lintText(content, { filePath: `${root}/${path}` });
  const faults = (result?.messages ?? []).filter(
    ({ ruleId, fatal }) => fatal === true || ruleId === importRule,
  );
  return faults.map(({ message }) => message);
}

const use = (specifier: string): string => `import { thing } from '${specifier}';\nthing();\n`;
const useType = (specifier: string): string =>
  `import type { Thing } from '${specifier}';\nexport type Mine = Thing;\n`;

const wholeRoom = /may not import this room \(docs\/architecture\.md/;
const typesOnly = /may import only the types of this room/;
const noTemporal = /does not know Temporal/;
const deterministic = /no Node built-ins/;

describe('the import table', () => {
  it.each([
    ['client', '../connections/connection.ts', wholeRoom],
    ['platform', '../connections/migrate.ts', wholeRoom],
    ['platform', '../gateway/refresh-engine.ts', typesOnly],
    ['connections', '../oauth/rotation.ts', wholeRoom],
    ['connections', '../vault/create-vault.ts', wholeRoom],
    ['connections', '../gateway/problem.ts', wholeRoom],
    ['connections', '../platform/clock.ts', typesOnly],
    ['oauth', '../connections/connection.ts', typesOnly],
    ['oauth', '../vault/create-vault.ts', wholeRoom],
    ['vault', '../oauth/egress.ts', wholeRoom],
    ['vault', '../connections/token-vault.ts', typesOnly],
    ['workflows', '../activities/index.ts', typesOnly],
    ['workflows', '../platform/clock.ts', wholeRoom],
    ['activities', '../gateway/problem.ts', wholeRoom],
    ['activities', '../worker/create-worker.ts', wholeRoom],
    ['activities', '../platform/log.ts', typesOnly],
    ['gateway', '../oauth/rotation.ts', wholeRoom],
    ['gateway', '../workflows/index.ts', wholeRoom],
    ['gateway', '../vault/create-vault.ts', wholeRoom],
    ['worker', '../connections/migrate.ts', wholeRoom],
    ['worker', '../gateway/problem.ts', wholeRoom],
    ['connections', '@temporalio/client', noTemporal],
    ['oauth', '@temporalio/activity', noTemporal],
    ['vault', '@temporalio/common', noTemporal],
    ['client', '@temporalio/client', noTemporal],
    ['gateway', '@temporalio/client', noTemporal],
    ['workflows', 'node:crypto', deterministic],
    ['workflows', 'node:timers/promises', deterministic],
    ['workflows', 'crypto', deterministic],
    ['workflows', 'fs', deterministic],
    ['workflows', 'timers/promises', deterministic],
  ])('refuses %s the import of %s', async (room, specifier, message) => {
    const faults = await importFaults(`${room}/virtual.ts`, use(specifier));
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatch(message);
  });

  it('refuses from deeper folders too', async () => {
    const faults = await importFaults(
      'gateway/routes/virtual.ts',
      use('../../oauth/rotation.ts') + useType('../../vault/data-keys.ts'),
    );
    expect(faults).toHaveLength(2);
  });

  it('refuses a type of a room whose types are not named', async () => {
    const faults = await importFaults('gateway/virtual.ts', useType('../oauth/rotation.ts'));
    expect(faults).toHaveLength(1);
  });

  it.each([
    ['connections', use('./freshness.ts')],
    ['connections', use('../client/contract.ts')],
    ['connections', use('../platform/secret.ts')],
    ['connections', useType('../platform/clock.ts')],
    ['connections', use('pg')],
    ['platform', useType('../gateway/refresh-engine.ts')],
    ['oauth', useType('../connections/app.ts')],
    ['vault', useType('../connections/token-vault.ts')],
    ['workflows', use('../connections/freshness.ts')],
    ['workflows', use('../oauth/rotation.ts')],
    ['workflows', useType('../activities/index.ts')],
    ['workflows', use('@temporalio/workflow')],
    ['activities', use('../vault/sealed-value.ts')],
    ['activities', use('@temporalio/activity')],
    ['gateway', use('../connections/connection.ts')],
    ['gateway', use('hono')],
    ['worker', useType('../activities/index.ts')],
    ['worker', use('@temporalio/worker')],
  ])('lets %s have: %s', async (room, content) => {
    expect(await importFaults(`${room}/virtual.ts`, content)).toEqual([]);
  });

  it.each([
    ['gateway/compose-gateway.ts', use('../oauth/rotation.ts')],
    ['worker/compose-worker.ts', use('../oauth/egress.ts')],
    ['cli/all-in-one.ts', use('../gateway/compose-gateway.ts')],
    ['dev/stack.ts', use('../vault/local-key-file.ts')],
  ])('lets %s compose', async (path, content) => {
    expect(await importFaults(path, content)).toEqual([]);
  });
});
