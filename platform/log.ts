import { pino, type DestinationStream } from 'pino';
import { isColorSupported, prettyFactory } from 'pino-pretty';
import { describeError } from './describe-error.ts';
import { createLogOutput } from './log-output.ts';
import { redactLine } from './redact-line.ts';

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** An error goes under `err`. Fields and text never hold a secret; the redaction is the second line. */
interface LogMethod {
  (fields: object, message: string): void;
  (message: string): void;
}

/** What a line says that was prepared; undefined: it is left out. */
type LineValue = string | number | undefined;

/** Writes a line with these beside what was prepared, in the order of their names. */
export type PreparedLine = (...values: LineValue[]) => void;

/** One line an event. Other rooms take this type and receive a logger as an argument. */
export interface Logger {
  debug: LogMethod;
  info: LogMethod;
  warn: LogMethod;
  error: LogMethod;
  fatal: LogMethod;
  /**
   * A writer of lines of level `info` that all carry these fields and this message: they are rendered
   * once. `names` are those of the values that differ from line to line. For those who log with every
   * request.
   */
  prepare(fields: object, message: string, names: readonly string[]): PreparedLine;
  /** A logger whose every line carries these fields too; with a level of its own if it is given one. */
  child(fields: Record<string, unknown>, options?: { level?: LogLevel }): Logger;
}

export interface LoggerOptions {
  /** Service name on every line. */
  subsystem: string;
  level: LogLevel;
  /** For people rather than machines. */
  pretty: boolean;
  /** Standard output unless a test listens. */
  destination?: DestinationStream;
}

/**
 * JSON lines with `level`, `time` (ISO 8601), `pid`, `subsystem`, `msg`, to standard output as
 * createLogOutput does it.
 */
export function createLogger(options: LoggerOptions): Logger {
  const { subsystem, level, pretty } = options;
  const onLost = (lines: number): void => {
    log.warn({ lines }, 'lines of this log are lost: standard output did not take them');
  };
  const { destination = createLogOutput(onLost) } = options;
  const stream = pretty ? prettyStream(destination) : destination;
  const log = pino(
    {
      level,
      base: { pid: process.pid, subsystem },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
      hooks: { streamWrite: redactLine },
    },
    stream,
  );
  const preparing = Object.assign(log, {
    prepare(
      this: RenderingLogger,
      fields: object,
      message: string,
      names: readonly string[],
    ): PreparedLine {
      return this.isLevelEnabled('info')
        ? prepareLine(this, stream, fields, message, names)
        : silent;
    },
  });
  // Its children inherit `prepare`, and render with what they carry; their type does not tell.
  return preparing as unknown as Logger;
}

/** What pino writes a line by, under the symbols that it publishes for that. */
type RenderingLogger = pino.Logger & {
  [pino.symbols.asJsonSym]: (
    fields: object,
    message: string,
    level: number,
    time: string,
  ) => string;
};

const infoLevel = 30;
const timeMark = '"time":"';
/** What redactLine could find anything in; ids, versions, durations and addresses are of none of it. */
const needsNoRedaction = /^[\w.~:+@-]*$/;

function silent(): void {
  return undefined;
}

/** Everything but the time and what is given with each line is rendered, and redacted, once. */
function prepareLine(
  log: RenderingLogger,
  stream: DestinationStream,
  fields: object,
  message: string,
  names: readonly string[],
): PreparedLine {
  const line = redactLine(log[pino.symbols.asJsonSym](fields, message, infoLevel, `,${timeMark}"`));
  const timeAt = line.indexOf(timeMark) + timeMark.length;
  const end = `,"msg":${JSON.stringify(message)}}\n`;
  const head = line.slice(0, timeAt);
  const middle = line.slice(timeAt, -end.length);
  const starts = names.map((name) => `,${JSON.stringify(name)}:`);
  const newestTime = { ms: NaN, text: '' };

  function start(): string {
    const nowMs = Date.now();
    if (nowMs !== newestTime.ms) {
      newestTime.ms = nowMs;
      newestTime.text = new Date(nowMs).toISOString();
    }
    return head + newestTime.text + middle;
  }
  function escaped(values: readonly LineValue[]): string {
    const members = values.map((value, at) =>
      value === undefined ? '' : `${starts[at]}${JSON.stringify(value)}`,
    );
    return redactLine(start() + members.join('') + end);
  }

  return (...values) => {
    let members = '';
    let texts = '';
    for (let at = 0; at < values.length; at += 1) {
      const value = values[at];
      if (value === undefined) continue;
      if (typeof value === 'number') members += `${starts[at]}${value}`;
      else {
        members += `${starts[at]}"${value}"`;
        texts += value;
      }
    }
    stream.write(needsNoRedaction.test(texts) ? start() + members + end : escaped(values));
  };
}

function prettyStream(destination: DestinationStream): DestinationStream {
  const prettify = prettyFactory({
    ignore: 'pid,subsystem',
    translateTime: 'SYS:HH:MM:ss.l',
    // Fields behind the message, so that an entry is one line; only an error takes more.
    singleLine: true,
    colorize: isColorSupported,
  });
  return { write: (line: string) => destination.write(prettify(line)) };
}
