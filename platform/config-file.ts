import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { z } from 'zod';
import { TokenManagerError, type InputFault } from '../client/contract.ts';
import { configFileSchema } from './config-file-schema.ts';

const configFileName = 'temporal.config.json';
const hourMs = 3_600_000;

/** temporal.config.json with its defaults filled in. */
export type ConfigFile = z.output<typeof configFileSchema> & { retentionMs: number };

export interface ConfigFileSource {
  /** The file beside package.json by default, which may be missing. */
  path?: string | undefined;
  readFile?: ((path: string) => string) | undefined;
}

/** Throws `input_validation` that lists every fault. For what is needed before the environment is. */
export function loadConfigFile(source: ConfigFileSource = {}): ConfigFile {
  const { file, faults } = readConfigFile(source);
  throwFaults(faults);
  return file;
}

/** The file and its faults; with faults the defaults stand in, so that others can be found too. */
export function readConfigFile(source: ConfigFileSource): {
  file: ConfigFile;
  faults: InputFault[];
} {
  const { path = join(packageRoot(import.meta.dirname), configFileName), readFile = readUtf8 } =
    source;
  try {
    return parseConfigFile(path, readFile(path));
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    const fault = { parameter: path, detail: 'cannot be read; make it readable' };
    return { file: defaultFile(), faults: missing && source.path === undefined ? [] : [fault] };
  }
}

/** Throws one error for all of them, if there are any. */
export function throwFaults(faults: InputFault[]): void {
  if (faults.length > 0) throw unusableConfiguration(faults);
}

/** One error for all of them, each on a line of its own. */
export function unusableConfiguration(faults: InputFault[]): TokenManagerError {
  const lines = faults.map(
    (fault) => `\n  - ${'pointer' in fault ? fault.pointer : fault.parameter} ${fault.detail}`,
  );
  return new TokenManagerError('input_validation', {
    detail: `The configuration cannot be used:${lines.join('')}`,
    errors: faults,
  });
}

function parseConfigFile(
  path: string,
  contents: string,
): { file: ConfigFile; faults: InputFault[] } {
  let json: unknown;
  try {
    json = JSON.parse(contents);
  } catch (error) {
    const detail = `is not JSON: ${error instanceof Error ? error.message : 'unreadable'}`;
    return { file: defaultFile(), faults: [{ parameter: path, detail }] };
  }
  const parsed = configFileSchema.safeParse(json);
  if (parsed.success) return { file: withRetention(parsed.data), faults: [] };
  const faults = parsed.error.issues.flatMap((issue) =>
    faultsOf(issue).map(({ pointer, detail }) => ({ parameter: `${path}#${pointer}`, detail })),
  );
  return { file: defaultFile(), faults };
}

function defaultFile(): ConfigFile {
  return withRetention(configFileSchema.parse({}));
}

function withRetention(file: z.output<typeof configFileSchema>): ConfigFile {
  const hours = Number.parseInt(file.retention, 10) * (file.retention.endsWith('d') ? 24 : 1);
  return { ...file, retentionMs: hours * hourMs };
}

function faultsOf(issue: z.core.$ZodIssue): { pointer: string; detail: string }[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      pointer: pointerTo([...issue.path, key]),
      detail: 'is not a setting; remove it or correct its name',
    }));
  }
  return [{ pointer: pointerTo(issue.path), detail: issue.message }];
}

/** A JSON pointer (RFC 6901). */
function pointerTo(path: PropertyKey[]): string {
  return path
    .map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`)
    .join('');
}

/** The sources and the built files lie at different depths below package.json. */
function packageRoot(folder: string): string {
  if (existsSync(join(folder, 'package.json'))) return folder;
  const parent = dirname(folder);
  return parent === folder ? folder : packageRoot(parent);
}

function readUtf8(path: string): string {
  return readFileSync(path, 'utf8');
}
