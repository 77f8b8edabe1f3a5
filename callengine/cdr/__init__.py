"""CDRs as ground truth: what mod_json_cdr writes or posts at the end of each channel, whoever was listening then."""
