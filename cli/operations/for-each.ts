import { describeFailure } from './describe-failure.ts';

/** One after the other; what fails is told, and the others go on. */
export async function forEachId(
  ids: readonly string[],
  act: (id: string) => Promise<void>,
): Promise<void> {
  for (const id of ids) {
    try {
      await act(id);
    } catch (error) {
      console.error(ids.length === 1 ? describeFailure(error) : `${id}: ${describeFailure(error)}`);
      process.exitCode = 1;
    }
  }
}
