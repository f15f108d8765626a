// The Activities of the sync. Only here is there a token, and only in memory.
import { ApplicationFailure } from '@temporalio/activity';

/** `tokens` is a TokenManagerClient, one for the process. */
export function createSyncActivities(tokens, apiUrl) {
  return {
    /** May be tried again like any Activity: each try reads the token that is current then. */
    async readProfile({ connectionId }) {
      // Attaches the token; a 401 has it refreshed, once for all who got one, and is asked once more.
      const answer = await tokens.fetch(connectionId, new URL('/me', apiUrl));
      if (!answer.ok)
        throw ApplicationFailure.create({ message: `The API said ${answer.status}.` });
      const { sub } = await answer.json();
      return { sub };
    },
  };
}
