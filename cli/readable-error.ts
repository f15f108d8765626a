import { TokenManagerError } from '../client/contract.ts';

/** Faults of ours show where they are; what a person has to put right is one sentence. */
export function readableError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof TokenManagerError || !isProgramFault(error)) return error.message;
  return error.stack ?? error.message;
}

function isProgramFault(error: Error): boolean {
  return error instanceof TypeError || error instanceof ReferenceError;
}
