import { TokenManagerError, type InputFault } from '../../client/contract.ts';
import { problemExplanations } from '../../gateway/problem-explanations.ts';
import { readableError } from '../readable-error.ts';

/** A failure of a command for people: what, which faults, and what to do. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof TokenManagerError)) return readableError(error);
  const { code, connectionId, reason, retryAfterSeconds, errors = [] } = error;
  const of = connectionId === undefined ? '' : ` of ${connectionId}`;
  const why = reason === undefined ? '' : `, ${reason}`;
  const again = retryAfterSeconds === undefined ? '' : ` Again after ${retryAfterSeconds} s.`;
  return [
    `${error.message} (${code}${of}${why})${again}`,
    ...errors.map((fault) => `  ${describeFault(fault)}`),
    `What to do: ${problemExplanations[code].whatToDo}`,
  ].join('\n');
}

/** Where, and what. */
export function describeFault(fault: InputFault): string {
  const where = 'pointer' in fault ? fault.pointer || 'the whole' : fault.parameter;
  return `${where}: ${fault.detail}`;
}
