import type { InputFault } from '../client/contract.ts';
import { Secret } from './secret.ts';

/** Names and values of variables, as in `process.env`; an empty value counts as absent. */
export type Environment = Record<string, string | undefined>;

/** A file and the variable that names it. */
export interface NamedFile {
  setting: string;
  path: string;
}

/** Reads variables and notes every fault, so that all of them can be reported at once. */
export interface Settings {
  readonly faults: InputFault[];
  /** Files that secrets were read from. */
  readonly secretFiles: NamedFile[];
  fault(parameter: string, detail: string): void;
  text(name: string): string | undefined;
  /** Strict: `true` or `false`. */
  boolean(name: string, absent: boolean): boolean;
  integer(name: string, range: { absent: number; min: number; max: number }): number;
  oneOf<Choice extends string>(name: string, choices: readonly Choice[], absent: Choice): Choice;
  /** Items separated by commas or white space. */
  list(name: string): string[];
  /** The variable, or the trimmed contents of the file that `<name>_FILE` names; never both. */
  secret(name: string): Secret | undefined;
  /** A path whose file can be read now. */
  readablePath(name: string): string | undefined;
  /** Whether the file can be read that the variable names; a fault if not. */
  isReadable(name: string): boolean;
}

export function createSettings(env: Environment, readFile: (path: string) => string): Settings {
  const faults: InputFault[] = [];
  const secretFiles: NamedFile[] = [];

  function fault(parameter: string, detail: string): void {
    faults.push({ parameter, detail });
  }

  function text(name: string): string | undefined {
    const value = env[name];
    return value === undefined || value === '' ? undefined : value;
  }

  function contentsOf(name: string, path: string): string | undefined {
    try {
      return readFile(path);
    } catch (error) {
      fault(name, describeReadFault(path, error));
      return undefined;
    }
  }

  function oneOf<Choice extends string>(
    name: string,
    choices: readonly Choice[],
    absent: Choice,
  ): Choice {
    const value = text(name);
    if (value === undefined) return absent;
    const choice = choices.find((each) => each === value);
    if (choice === undefined) fault(name, `is ${quoted(value)}; set one of ${choices.join(', ')}`);
    return choice ?? absent;
  }

  return {
    faults,
    secretFiles,
    fault,
    text,
    oneOf,
    boolean: (name, absent) => oneOf(name, ['true', 'false'], absent ? 'true' : 'false') === 'true',
    integer(name, { absent, min, max }) {
      const value = text(name);
      if (value === undefined) return absent;
      const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
      if (number >= min && number <= max) return number;
      fault(name, `is ${quoted(value)}; set a whole number from ${min} to ${max}`);
      return absent;
    },
    list: (name) => (text(name) ?? '').split(/[\s,]+/).filter((item) => item !== ''),
    secret(name) {
      const fileName = `${name}_FILE`;
      const [value, path] = [text(name), text(fileName)];
      if (value !== undefined && path !== undefined) {
        fault(name, `is set, and so is ${fileName}; set one of the two`);
      }
      if (value !== undefined) return new Secret(value);
      if (path === undefined) return undefined;
      secretFiles.push({ setting: fileName, path });
      const contents = contentsOf(fileName, path)?.trim();
      if (contents === '')
        fault(fileName, `names the file ${path}, which is empty; put the value into it`);
      return contents === undefined || contents === '' ? undefined : new Secret(contents);
    },
    readablePath(name) {
      const path = text(name);
      if (path !== undefined) contentsOf(name, path);
      return path;
    },
    isReadable(name) {
      const path = text(name);
      return path !== undefined && contentsOf(name, path) !== undefined;
    },
  };
}

/** For faults about a setting that names a file. */
export function describeReadFault(path: string, error: unknown): string {
  const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
  return `names the file ${path}, which cannot be read${code}; name a readable file`;
}

/** For faults about settings that hold no secret. */
export function quoted(value: string): string {
  return JSON.stringify(value.length > quotedMax ? `${value.slice(0, quotedMax)}…` : value);
}

const quotedMax = 80;
