import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runCommand, startCommand, type CommandEnd } from '../support/run-command.ts';
import { createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';

/** `npm run import-test` takes 100,000. */
const linesTotal = Number(process.env['IMPORT_LINES'] ?? 6_000);
const badEvery = 1_000;
const importLimitMs = 600_000;
const folder = mkdtempSync(join(tmpdir(), 'token-manager-import-'));

let cluster: ServiceCluster;
beforeAll(async () => {
  cluster = await createServiceCluster();
  for (const id of ['a1', 'a2']) {
    const app = {
      provider: 'generic',
      client_id: 'client',
      overrides: { token_url: 'https://as.example.com/token' },
    };
    const { code, stderr } = await runCommand(
      ['apps', 'put', id],
      cluster.env,
      JSON.stringify(app),
    );
    expect([code, stderr]).toEqual([0, expect.any(String)]);
  }
}, 60_000);
afterAll(async () => {
  await cluster.close();
  rmSync(folder, { recursive: true });
});

const importArgs = (...args: string[]) => ['connections', 'import', ...args];
const run = (...args: string[]): Promise<CommandEnd> =>
  runCommand(importArgs(...args), cluster.env);

function line(id: string, members: Record<string, unknown> = {}): string {
  return JSON.stringify({
    id,
    tenant_id: 'acme',
    app_id: 'a1',
    access_token: `at-canary-${id}-${'x'.repeat(300)}`,
    refresh_token: `rt-canary-${id}`,
    expires_in: 3_600,
    ...members,
  });
}

/** Of which every thousandth is bad, from the 500th on. */
function writeLines(path: string, prefix: string, count: number): number[] {
  const bad: number[] = [];
  const file = openSync(path, 'w');
  for (let number = 1; number <= count; number += 1) {
    const isBad = number % badEvery === badEvery / 2;
    if (isBad) bad.push(number);
    writeSync(file, `${line(`${prefix}${number}`, isBad ? { app_id: 'nobody' } : {})}\n`);
  }
  closeSync(file);
  return bad;
}

async function countOf(prefix: string): Promise<number> {
  const { rows } = await cluster.database.pool.query<{ count: number }>(
    `select count(*)::integer as count from connections where id like $1`,
    [`${prefix}%`],
  );
  return rows[0]?.count ?? 0;
}

interface Reported {
  line: number;
  id: string | null;
  code: string;
  errors?: unknown[];
}
const reportOf = (path: string): Reported[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((text) => text !== '')
    .map((text) => JSON.parse(text) as Reported);

it('keeps the good lines and reports the bad ones by number, pointer and reason', async () => {
  const [file, report] = [join(folder, 'mixed.jsonl'), join(folder, 'mixed.report')];
  const lines = [
    `\uFEFF${line('m1')}\r`,
    '',
    '{"id": "m3", "tenant_id"',
    line('m4', { refresh_tokn: 'canary' }),
    line('not an id'),
    line('m6', { expires_in: -1, app_id: undefined }),
    line('m7', { app_id: 'nobody' }),
    line('m8', { refresh_token: 'rt-canary-m1' }),
    line('m9', { metadata: { huge: 'canary'.repeat(200_000) } }),
    '[]',
    line('m11'),
  ];
  const fd = openSync(file, 'w');
  writeSync(fd, lines.join('\n'));
  writeSync(fd, Buffer.from([0x0a, 0x22, 0xff, 0xfe, 0x22, 0x0a]));
  closeSync(fd);
  appendFileSync(file, line('m13'));
  const { code, stdout, stderr } = await run(file, '--report', report);
  expect([code, stdout]).toEqual([1, expect.stringContaining('3 created')]);
  expect(stdout).toContain('9 bad');
  expect(stderr).toContain('line 7 (m7): There is no such app. (app_not_found)');
  expect(reportOf(report)).toMatchObject([
    { line: 3, id: null, errors: [{ pointer: '', detail: 'is not a JSON object' }] },
    { line: 4, id: 'm4', errors: [{ pointer: '/refresh_tokn', detail: 'is not known' }] },
    { line: 5, id: null, errors: [{ pointer: '/id' }] },
    { line: 6, id: 'm6', errors: [{ pointer: '/app_id' }, { pointer: '/expires_in' }] },
    { line: 7, id: 'm7', code: 'app_not_found' },
    { line: 8, id: 'm8', code: 'credential_in_use' },
    { line: 9, id: null, errors: [{ detail: 'is longer than 1048576 bytes' }] },
    { line: 10, id: null, errors: [{ detail: 'is not a JSON object' }] },
    { line: 12, id: null, errors: [{ detail: 'is not UTF-8' }] },
  ]);
  expect(await countOf('m')).toBe(3);
  expect(stdout + stderr + readFileSync(report, 'utf8')).not.toContain('canary');
});

it(
  'ends with every connection, its progress told, though it was killed midway',
  async () => {
    const [file, report, checkpoint] = ['all.jsonl', 'all.report', 'all.checkpoint'].map((name) =>
      join(folder, name),
    ) as [string, string, string];
    const bad = writeLines(file, 'k', linesTotal);
    const args = importArgs(file, '--report', report, '--checkpoint', checkpoint);
    const killed = startCommand(args, cluster.env);
    while ((await countOf('k')) < linesTotal / 4) await sleep(20);
    killed.child.kill('SIGKILL');
    expect((await killed.end).code).toBeNull();
    const reached = await countOf('k');
    expect(reached).toBeLessThan(linesTotal - bad.length);
    expect(JSON.parse(readFileSync(checkpoint, 'utf8'))).toMatchObject({
      line: expect.any(Number) as number,
    });

    const other = join(folder, 'other.jsonl');
    writeLines(other, 'o', 1);
    expect((await run(other, '--checkpoint', checkpoint)).stderr).toContain('is the checkpoint of');

    const startedAtMs = performance.now();
    const resumed = startCommand(args, cluster.env);
    const { code, stdout, stderr } = await resumed.end;
    const seconds = (performance.now() - startedAtMs) / 1_000;
    expect([code, stdout]).toEqual([1, expect.stringContaining(' created')]);
    expect(stderr).toMatch(/Going on from line [\d,]+\./);
    expect(stderr).toMatch(/^100 %: [\d,]+ lines, [\d,]+\/s/m);
    expect(stderr.match(/"audit":true/g)?.length).toBeGreaterThan(linesTotal - reached - 1_000);
    expect(await countOf('k')).toBe(linesTotal - bad.length);
    // A batch that was killed between its report and its checkpoint reports its lines again.
    expect([...new Set(reportOf(report).map((each) => each.line))]).toEqual(bad);
    expect(existsSync(checkpoint)).toBe(false);
    if (linesTotal >= 100_000)
      process.stdout.write(`${linesTotal - reached} lines in ${seconds.toFixed(1)} s\n`);
  },
  importLimitMs,
);

it(
  'run again changes nothing, and as little when it is interrupted and goes on from a line',
  async () => {
    const file = join(folder, 'again.jsonl');
    writeLines(file, 'i', 4_000);
    const first = startCommand(importArgs(file), cluster.env);
    while ((await countOf('i')) < 1_000) await sleep(20);
    first.child.kill('SIGINT');
    const { code, stderr } = await first.end;
    const fromLine = /--from-line (\d+)/.exec(stderr)?.[1] ?? '';
    expect([code, fromLine]).toEqual([130, expect.stringMatching(/^\d+$/)]);
    const rest = await run(file, '--from-line', fromLine, '--json');
    const told = JSON.parse(rest.stdout) as Record<string, number>;
    expect(told['created']).toBe(
      3_996 - (Number(fromLine) - 1 - Math.floor((Number(fromLine) + 499) / 1_000)),
    );
    const again = JSON.parse((await run(file, '--json')).stdout) as Record<string, number>;
    expect(again).toMatchObject({ created: 0, stored: 0, kept: 3_996, refused: 4 });
    const { rows } = await cluster.database.pool.query(
      `select max(generation)::integer as generation from connections where id like 'i%'`,
    );
    expect(rows).toEqual([{ generation: 1 }]);
  },
  importLimitMs,
);
