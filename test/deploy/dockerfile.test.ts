import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const root = new URL('../../', import.meta.url);
const read = (file: string): string => readFileSync(new URL(file, root), 'utf8');
const dockerfile = read('deploy/Dockerfile');
const admitted = read('deploy/Dockerfile.dockerignore')
  .split('\n')
  .flatMap((line) => (line.startsWith('!') ? [line.slice(1)] : []));

describe('deploy/Dockerfile', () => {
  it('is given every room that is built, and every file that it copies', () => {
    const { include } = JSON.parse(read('tsconfig.build.json')) as { include: string[] };
    const copied = Array.from(
      dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm),
      ([, files = '']) => files.split(' '),
    ).flat();
    expect(copied.length).toBeGreaterThan(3);
    for (const path of [...include, ...copied.filter((file) => file !== '.')]) {
      expect(admitted).toContain(path);
    }
  });

  it('stands on a base that cannot change under it', () => {
    const bases = Array.from(dockerfile.matchAll(/^FROM (\S+)/gm), ([, base]) => base);
    expect(bases.filter((base) => base !== 'base')).toEqual([
      expect.stringMatching(/^node:24\.\d+\.\d+-bookworm-slim@sha256:[0-9a-f]{64}$/),
    ]);
  });

  it('runs as nobody in particular', () => {
    const users = Array.from(dockerfile.matchAll(/^USER (\S+)$/gm), ([, user]) => user);
    expect(users).toEqual(['1000:1000']);
  });
});
