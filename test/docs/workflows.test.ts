import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const blocks = Array.from(
  readFileSync(`${root}docs/workflows.md`, 'utf8').matchAll(/^```ts\n(.*?)^```/gms),
  ([, code = '']) => code,
);

// As in a project that has installed the package, but against the sources.
it('the code of docs/workflows.md compiles', { timeout: 60_000 }, () => {
  const { config } = ts.readConfigFile(`${root}tsconfig.json`, (path) =>
    readFileSync(path, 'utf8'),
  ) as { config: { compilerOptions: object } };
  const { options } = ts.convertCompilerOptionsFromJson(
    {
      ...config.compilerOptions,
      paths: {
        'token-manager/client': ['./client/token-manager-client.ts'],
        'token-manager/workflow': ['./client/workflow.ts'],
      },
    },
    root,
  );
  const files = new Map(blocks.map((code, index) => [`${root}docs/block-${index}.ts`, code]));
  const host = ts.createCompilerHost(options);
  const program = ts.createProgram([...files.keys()], options, {
    ...host,
    fileExists: (path) => files.has(path) || host.fileExists(path),
    readFile: (path) => files.get(path) ?? host.readFile(path),
    // Its own looks into files by itself.
    getSourceFile: (path, version) =>
      files.has(path)
        ? ts.createSourceFile(path, files.get(path) ?? '', version)
        : host.getSourceFile(path, version),
  });
  const faults = ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
    const { line } = file?.getLineAndCharacterOfPosition(start ?? 0) ?? { line: -1 };
    return `${file?.fileName}:${line + 1} ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
  });
  expect(blocks.length).toBeGreaterThan(3);
  expect(faults).toEqual([]);
});
