"""What happens before a job runs: checks, the plan, staging; and jobs that repair or retry an output."""
