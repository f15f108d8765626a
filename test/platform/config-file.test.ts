import { readFileSync, writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { format, resolveConfig } from 'prettier';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { configFileSchema } from '../../platform/config-file-schema.ts';
import { loadConfigFile } from '../../platform/config-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'config-file-'));
afterAll(() => rmSync(folder, { recursive: true }));
const root = new URL('../../', import.meta.url);

function load(contents: string) {
  const path = join(folder, 'temporal.config.json');
  writeFileSync(path, contents);
  return loadConfigFile({ path });
}

describe('temporal.config.json', () => {
  it('in the repository says exactly the defaults', () => {
    const { $schema, ...committed } = z
      .looseObject({ $schema: z.string() })
      .parse(JSON.parse(readFileSync(new URL('temporal.config.json', root), 'utf8')));
    expect($schema).toBe('./temporal.config.schema.json');
    expect(committed).toEqual(configFileSchema.parse({}));
  });

  it('has beside it the JSON Schema of what is read (vitest -u writes it anew)', async () => {
    const schema = JSON.stringify(z.toJSONSchema(configFileSchema, { io: 'input' }), null, 2);
    const path = new URL('temporal.config.schema.json', root).pathname;
    const options = { ...(await resolveConfig(path)), parser: 'json' };
    await expect(await format(schema, options)).toMatchFileSnapshot(path);
  });

  it('is found beside package.json, and may leave everything out', () => {
    expect(loadConfigFile().namespace).toBe('default');
    expect(load('{}').dev.ports.gateway).toBe(8082);
    expect(load('{"dev": {"ports": {"gateway": 1}}}').dev.ports).toMatchObject({
      gateway: 1,
      temporal: 7233,
    });
  });

  it.each([
    ['7d', 604_800_000],
    ['72h', 259_200_000],
  ])('counts a retention of %s as milliseconds', (retention, ms) => {
    expect(load(JSON.stringify({ retention })).retentionMs).toBe(ms);
  });

  it.each([
    ['{', /is not JSON/],
    ['[]', /# Invalid input: expected object/],
    ['{"a/b": 1}', /#\/a~1b is not a setting/],
    ['{"taskQueues": {"refresh": ""}}', /#\/taskQueues\/refresh /],
    ['{"retention": "7"}', /#\/retention must be hours or days/],
    [
      '{"refresh": {"startToCloseSeconds": 60}}',
      /#\/refresh\/startToCloseSeconds is not a setting/,
    ],
    ['{"refresh": {"deadlineSeconds": {"F": 70}}}', /#\/refresh\/deadlineSeconds\/F /],
    ['{"worker": {"pollers": {"minimum": 9}}}', /#\/worker\/pollers must satisfy/],
    ['{"searchAttributes": {"ConnectionId": "Keyword"}}', /#\/searchAttributes must name/],
    ['{"dev": {"ports": {"gateway": 0}}}', /#\/dev\/ports\/gateway /],
  ])('is refused when it is %s', (contents, message) => {
    expect(() => load(contents)).toThrow(message);
  });

  it('is refused when the named file is missing', () => {
    expect(() => loadConfigFile({ path: join(folder, 'missing.json') })).toThrow('cannot be read');
  });
});
