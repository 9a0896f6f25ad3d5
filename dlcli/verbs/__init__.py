"""What a user can type after `dlcli`: one file a verb, each with its arguments and a function `run`."""
