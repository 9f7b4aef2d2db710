"""What of containers is not in the kernel as it was made: how that is noticed, found and put back."""
